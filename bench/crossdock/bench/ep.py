"""`crossdock bench ep`: dispatch and combine at DeepEP's shapes, beside what one would use instead.

Contenders take turns within one run, all ranks beginning each step together; a time is from the
first rank's start to the last rank's end. Every token of every result is checked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import tyro
from rich.console import Console

from crossdock.bench import command, ep_rank, ep_report, launch, options
from crossdock.bench.baselines import gloo, memcpy, mpi
from crossdock.bench.command import Common
from crossdock.bench.ep_rank import Plan
from crossdock.bench.errors import BaselineMissing
from crossdock.bench.limits import expect_shapes
from crossdock.bench.record import Record, Series
from crossdock.bench.workload import Dtype, Mode, Shape

Transport = Literal["shm", "tcp"]
Baseline = Literal["gloo", "openmpi", "memcpy"]
DEFAULT_TOKENS: dict[Mode, int] = {"normal": 4096, "low_latency": 128}


@dataclass(frozen=True)
class Options(Common):
    """Dispatch and combine beside gloo, Open MPI and memcpy."""

    ranks: str = "2,4"
    """Numbers of ranks, with commas. Under torchrun its number is taken."""
    modes: str = "normal,low-latency"
    """normal, low-latency."""
    dtypes: str = "bf16,fp8"
    """What is dispatched: bf16, fp8. Combine is always bf16."""
    transport: str = "shm,tcp"
    """crossdock's transports: shm, tcp."""
    baselines: str = "gloo,openmpi,memcpy"
    """gloo, openmpi, memcpy; one that is not installed is skipped."""
    tokens: int | None = None
    """Of each rank; default 4096 in normal mode, 128 in low-latency mode."""
    hidden: int = 7168
    topk: int = 8
    experts: int = 256
    rounds: int = 10
    """How often each contender has its turn."""
    warmups: int = 2
    """Rounds before, which are checked but not counted."""
    seed: int = 0
    deadline_s: float = 900.0

    def __post_init__(self) -> None:
        super().__post_init__()
        options.numbers("ranks", self.ranks, 1)
        options.choices("modes", self.modes, Mode)
        options.choices("dtypes", self.dtypes, Dtype)
        options.choices("transport", self.transport, Transport)
        if self.baselines:
            options.choices("baselines", self.baselines, Baseline)
        options.at_least("rounds", self.rounds, 1)
        options.at_least("warmups", self.warmups, 0)
        torchrun = launch.under_torchrun()
        counts = [launch.torchrun_size()] if torchrun else options.numbers("ranks", self.ranks, 1)
        for ranks in counts:
            expect_shapes(self.shapes(ranks))

    def shapes(self, ranks: int) -> Iterator[Shape]:
        """All that is measured on so many ranks."""
        for mode in options.choices("modes", self.modes, Mode):
            for dtype in options.choices("dtypes", self.dtypes, Dtype):
                yield Shape(
                    mode=mode,
                    dtype=dtype,
                    ranks=ranks,
                    tokens=DEFAULT_TOKENS[mode] if self.tokens is None else self.tokens,
                    hidden=self.hidden,
                    topk=self.topk,
                    experts=self.experts,
                    seed=self.seed,
                )


def main(given: Options) -> int:
    """Measure, print, save; 1 when a token was wrong."""
    console = Console(stderr=True)
    return command.run(given, lambda: measured(given, console), ep_report.lines, ep_report.draw)


def measured(given: Options, console: Console) -> Record | None:
    """The record of a run; None on a rank that has nothing to print."""
    if launch.under_torchrun():
        return _under_torchrun(given)
    baselines, notes = present_baselines(given.baselines)
    record = _record(given, notes)
    with options.progress_on(console) as tell:
        for ranks in options.numbers("ranks", given.ranks, 1):
            plan = plan_for(given, ranks, baselines)
            record.series += command.series_of(ep_rank.body, plan, ranks, given.deadline_s, tell)
    return record


def plan_for(given: Options, ranks: int, baselines: tuple[str, ...]) -> Plan:
    """What so many ranks do."""
    return Plan(
        shapes=tuple(given.shapes(ranks)),
        transports=options.choices("transport", given.transport, Transport),
        baselines=baselines,
        rounds=given.rounds,
        warmups=given.warmups,
    )


def present_baselines(wanted: str) -> tuple[tuple[str, ...], list[str]]:
    """Those that can run here, and a note for each that cannot."""
    present, notes = [], []
    for name in options.choices("baselines", wanted, Baseline) if wanted else ():
        try:
            if name == mpi.NAME:
                mpi.require()
            present.append(name)
        except BaselineMissing as missing:
            notes.append(f"skipped {name}: {missing}")
    return tuple(present), notes


def _record(given: Options, notes: list[str]) -> Record:
    return Record(question="ep", settings=given.settings(), notes=[*ep_report.NOTES, *notes])


def _under_torchrun(given: Options) -> Record | None:
    ranks = launch.torchrun_size()
    names = tuple(n for n in (gloo.NAME, memcpy.NAME) if n in given.baselines.split(","))
    notes = ["ranks were started by torchrun; skipped openmpi: it needs ranks started here"]
    plan = plan_for(given, ranks, names)
    data = launch.join_torchrun(ep_rank.body, plan, given.deadline_s)
    if data is None:
        return None
    record = _record(given, notes)
    record.series += msgspec.json.decode(data, type=list[Series])
    return record


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
