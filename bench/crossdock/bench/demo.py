"""`crossdock demo`: a dispatch and a combine over several processes, every token checked.

Real rings, real proxies, real transports; beside them what one would use instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from crossdock.bench import command, ep_rank, ep_report, machine, options
from crossdock.bench.baselines import gloo
from crossdock.bench.ep_rank import Plan
from crossdock.bench.limits import expect_shapes
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.workload import Dtype, Mode, Shape

TOKENS: dict[Mode, int] = {"normal": 1024, "low_latency": 128}
DTYPES: tuple[Dtype, ...] = ("bf16", "fp8")


@dataclass(frozen=True)
class Options:
    """Run a dispatch and a combine over several processes and check every token."""

    ranks: int = 4
    """Processes."""
    hidden: int = 4096
    topk: int = 8
    experts: int = 128
    rounds: int = 5
    deadline_s: float = 180.0

    def __post_init__(self) -> None:
        options.at_least("ranks", self.ranks, 1)
        options.at_least("rounds", self.rounds, 1)
        options.between("deadline-s", self.deadline_s, 1, command.LONGEST_S)
        expect_shapes(_shapes(self))


def main(given: Options) -> int:
    """Run it and print a table; 1 when a token was wrong."""
    console = Console()
    start = time.monotonic()
    cores = len(machine.cpuset())
    console.print(
        f"[bold]{given.ranks} processes on {cores} cores[/], {given.experts} experts, "
        f"top-{given.topk}, hidden {given.hidden}: tokens go to the ranks of their experts and "
        "come back as sums.",
        highlight=False,
    )
    record = measured(given, Console(stderr=True))
    console.print(table(record))
    console.print(verdict(record, time.monotonic() - start), highlight=False)
    return command.EXIT_WRONG if record.wrong else 0


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    plan = Plan(
        shapes=tuple(_shapes(given)),
        transports=("shm", "tcp"),
        baselines=(gloo.NAME,),
        rounds=given.rounds,
        warmups=1,
    )
    record = Record(question="demo", settings={"ranks": given.ranks, "hidden": given.hidden})
    with options.progress_on(console) as tell:
        record.series += command.series_of(ep_rank.body, plan, given.ranks, given.deadline_s, tell)
    return record


def table(record: Record) -> Table:
    """Bandwidth and latency of each contender, and how many times as fast as gloo it is."""
    caption = "medians; GB/s: received by the busiest rank; x: times as fast as gloo"
    result = Table(caption=caption, box=box.SIMPLE)
    for heading in ("mode", "type", "by"):
        result.add_column(heading)
    for step in ("dispatch", "combine"):
        for heading in (f"{step}\nGB/s", "\nms", "\nx"):
            result.add_column(heading, justify="right")
    result.add_column("\nwrong", justify="right")
    last = None
    for dispatch, combine in ep_report.pairs(record):
        shape = (str(dispatch.point["mode"]).replace("_", " "), str(dispatch.point["dtype"]))
        if last not in (None, shape):
            result.add_section()
        ours = dispatch.contender != gloo.NAME
        result.add_row(
            *(shape if shape != last else ("", "")),
            dispatch.contender.removeprefix(f"{OURS} "),
            *_cells(record, dispatch),
            *_cells(record, combine),
            str((dispatch.wrong or 0) + (combine.wrong or 0)),
            style="bold" if ours else "dim",
        )
        last = shape
    return result


def verdict(record: Record, seconds: float) -> str:
    """One line."""
    if record.wrong:
        return f"[red]{record.wrong} tokens came out wrong[/], in {seconds:.0f} s"
    return (
        f"[green]every token equals the reference[/], in {len(record.series)} series, "
        f"{seconds:.0f} s in all"
    )


def _shapes(given: Options) -> Iterator[Shape]:
    for mode, tokens in TOKENS.items():
        for dtype in DTYPES:
            yield Shape(
                mode=mode,
                dtype=dtype,
                ranks=given.ranks,
                tokens=tokens,
                hidden=given.hidden,
                topk=given.topk,
                experts=given.experts,
            )


def _cells(record: Record, series: Series) -> tuple[str, str, str]:
    speed = record.speed(series, gloo.NAME)
    return (
        f"{series.gigabytes_per_second():.2f}",
        f"{series.summary().p50 * 1e3:.2f}",
        "" if speed is None else f"{speed:.1f}",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
