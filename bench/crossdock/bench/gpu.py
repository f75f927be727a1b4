"""`crossdock bench gpu`: the ring written by a GPU, and both modes with all ranks on one GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console

from crossdock.bench import command, gpu_mps, gpu_rank, gpu_ring, options, plot, text
from crossdock.bench.command import Common
from crossdock.bench.gpu_rank import COPY, LOW_LATENCY, NORMAL
from crossdock.bench.gpu_ring import LATENCY, RATE
from crossdock.bench.record import Record, Series
from crossdock.bench.text import Column, Value
from crossdock.bench.workload import Dtype, Mode, Shape

Way = Literal["direct", "staged"]
EXIT_NO_GPU = 2
RING_RANKS = 2

NOTES = (
    "ring rate: commands of all programs, from the launch to the acknowledgement of the last one;",
    "ring latency: GPU to ring to proxy to counter to GPU, measured by the GPU;",
    "low latency: a dispatch and a combine on all ranks at once; direct: ranks write into each",
    "other's memory; staged: through memory of the host and proxies; eager or replayed as a graph;",
    "normal: layout, dispatch and combine likewise, with room for all rows that may come; counted:",
    "with room for those that come, for which the host waits;",
    "copy: one copy of the rows that must reach experts and come back, in the device's memory;",
    "NCCL is not among the baselines: it refuses several ranks on one GPU",
)

RING_COLUMNS = (
    Column("kind", "", 13, left=True),
    Column("proxies", "", 7),
    Column("batch", "", 5),
    Column("rate", "M/s", 8, 2),
    Column("p50", "us", 8, 2),
    Column("p99", "us", 8, 2),
    Column("max", "us", 8, 2),
    Column("#wrong", "", 6),
)
CALL_COLUMNS = (
    Column("mode", "", 11, left=True),
    Column("contender", "", 18, left=True),
    Column("ranks", "", 5),
    Column("type", "", 5),
    Column("how", "", 7),
    Column("p50", "us", 9, 1),
    Column("min", "us", 9, 1),
    Column("max", "us", 9, 1),
    Column("moved", "GB/s", 8, 1),
    Column("x copy", "", 7, 2),
    Column("#wrong", "", 6),
)


@dataclass(frozen=True)
class Options(Common):
    """The ring and both modes on one GPU."""

    ranks: str = "2,4,8"
    """Numbers of ranks that share the GPU, with commas."""
    dtypes: str = "bf16,fp8"
    """bf16, fp8, or both."""
    modes: str = "low-latency,normal"
    """low-latency, normal, or both."""
    ways: str = "direct,staged"
    """direct, staged, or both."""
    tokens: int = 128
    """Of each rank in low-latency mode."""
    normal_tokens: int = 4096
    """Of each rank in normal mode."""
    hidden: int = 7168
    topk: int = 8
    experts: int = 256
    replays: int = 20
    """Rounds of one measurement."""
    rounds: int = 5
    """Measurements."""
    proxies: str = "1,4"
    """Proxy threads that the ring is measured with, with commas."""
    batches: str = "1,8,32"
    """Commands of one push, with commas."""
    programs: int = 128
    """That push at the same time."""
    commands: int = 2_000_000
    """Of one measurement of the ring's rate."""
    exchanges: int = 2000
    """Of one measurement of its latency."""
    mps: bool = False
    """Start NVIDIA's multi-process service, so that ranks run at the same time."""
    device: Literal["cuda", "interpreter"] = "cuda"
    """interpreter: the kernels in Triton's interpreter, to try the suite itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.numbers("ranks", self.ranks, 1, 64)
        options.numbers("proxies", self.proxies, 1, 64)
        options.numbers("batches", self.batches, 1, 1024)
        options.choices("dtypes", self.dtypes, Dtype)
        options.choices("ways", self.ways, Way)
        options.choices("modes", self.modes, Mode)
        for name in (
            "tokens",
            "normal_tokens",
            "hidden",
            "topk",
            "experts",
            "replays",
            "rounds",
            "programs",
        ):
            options.at_least(name, getattr(self, name), 1)


def main(given: Options) -> int:
    """Measure, print, save; 1 when a token came out wrong, 2 without a GPU."""
    if given.device == "cuda" and not torch.cuda.is_available():
        text.say("# no GPU: PyTorch sees none here; nothing was measured")
        return EXIT_NO_GPU
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    settings = given.settings()
    if given.device == "cuda":
        settings |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda or ""}
    record = Record(question="gpu", settings=settings, notes=list(NOTES))
    ring = gpu_ring.Plan(
        device=given.device,
        proxies=options.numbers("proxies", given.proxies, 1),
        batches=options.numbers("batches", given.batches, 1),
        programs=given.programs,
        commands=given.commands,
        exchanges=given.exchanges,
        rounds=given.rounds,
    )
    with gpu_mps.shared_gpu(given.mps), options.progress_on(console) as tell:
        record.series += command.series_of(gpu_ring.body, ring, RING_RANKS, given.deadline_s, tell)
        for plan in plans(given):
            record.series += command.series_of(
                gpu_rank.body, plan, plan.shape.ranks, given.deadline_s, tell
            )
    return record


def plans(given: Options) -> Iterator[gpu_rank.Plan]:
    """What each set of ranks measures."""
    for mode in options.choices("modes", given.modes, Mode):
        for ranks in options.numbers("ranks", given.ranks, 1):
            for dtype in options.choices("dtypes", given.dtypes, Dtype):
                is_normal = mode == "normal"
                yield gpu_rank.Plan(
                    device=given.device,
                    shape=Shape(
                        mode=mode,
                        dtype=dtype,
                        ranks=ranks,
                        tokens=given.normal_tokens if is_normal else given.tokens,
                        hidden=given.hidden,
                        topk=given.topk,
                        experts=given.experts,
                    ),
                    ways=options.choices("ways", given.ways, Way),
                    replays=given.replays,
                    rounds=given.rounds,
                )


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    rings = [s for s in record.series if s.point["kind"] in (RATE, LATENCY)]
    yield from text.table(RING_COLUMNS, (ring_row(series) for series in rings))
    yield "#"
    calls = [s for s in record.series if s.point["kind"] in (LOW_LATENCY, NORMAL)]
    yield from text.table(CALL_COLUMNS, (call_row(record, series) for series in calls))
    yield "#"
    yield from text.tail(record)


def ring_row(series: Series) -> Mapping[str, Value]:
    """Of the ring."""
    summary = series.summary()
    row: dict[str, Value] = {
        "kind": series.point["kind"],
        "proxies": series.point["proxies"],
        "batch": series.point["batch"],
        "#wrong": series.wrong,
    }
    if series.point["kind"] == RATE:
        return row | {"rate": 1e-6 / summary.p50}
    return row | {"p50": summary.p50 * 1e6, "p99": summary.p99 * 1e6, "max": summary.max * 1e6}


def call_row(record: Record, series: Series) -> Mapping[str, Value]:
    """Of a dispatch and a combine."""
    summary = series.summary()
    return {
        "mode": series.point["kind"],
        "contender": series.contender,
        "ranks": series.point["ranks"],
        "type": series.point["dtype"],
        "how": series.point["how"],
        "p50": summary.p50 * 1e6,
        "min": summary.min * 1e6,
        "max": summary.max * 1e6,
        "moved": series.gigabytes_per_second(),
        "x copy": record.ratio(series, COPY),
        "#wrong": series.wrong,
    }


def draw(record: Record, path: Path) -> None:
    """Bars of the medians."""
    plot.save(
        record,
        path,
        panel_of=lambda series: str(series.point["kind"]),
        along="ranks",
        value=lambda series: series.summary().p50 * 1e6,
        unit="us, median",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
