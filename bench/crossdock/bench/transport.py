"""`crossdock bench transport`: writes of each size between two ranks, each transport beside what it
stands on.

A time is half of a ping-pong: from the push of the command on one rank to its arrival on the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from crossdock.bench import command, options, plot, text, transport_rank
from crossdock.bench.baselines import gloo, memcpy, sockets
from crossdock.bench.command import Common
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.text import Column, Value
from crossdock.bench.transport_rank import Plan
from crossdock.proxy import schema
from crossdock.proxy.errors import ArgumentError

Transport = Literal["shm", "tcp"]
RANKS = 2
LEAST_BYTES = schema.GRANULE_BYTES
MOST_BYTES = schema.MAX_TRANSFER_BYTES
YARDSTICKS = {f"{OURS} shm": memcpy.NAME, f"{OURS} tcp": sockets.NAME}
"""What each transport stands on, and cannot beat."""

NOTES = (
    "a time is one way: half of a ping-pong, from the push of a command to its counted arrival;",
    "memcpy copies the same bytes between the same warm regions, on the sender's core;",
    "x base: how many times as long as memcpy (shm), as a blocking socket (tcp);",
    "x gloo: how many times as fast as gloo; both are medians of the ratios within rounds",
)

COLUMNS = (
    Column("size", "B", 10),
    Column("count", "", 6),
    Column("contender", "", 13, left=True),
    Column("time", "us", 9, 2),
    Column("min", "us", 9, 2),
    Column("p99", "us", 9, 2),
    Column("cv", "", 5, 2),
    Column("algbw", "GB/s", 6, 2),
    Column("x base", "", 6, 2),
    Column("x gloo", "", 7, 2),
    Column("#wrong", "", 6),
)


@dataclass(frozen=True)
class Options(Common):
    """Writes of each size, beside memcpy, a plain socket and gloo."""

    transport: str = "shm,tcp"
    """crossdock's transports: shm, tcp."""
    min_bytes: int = 1 << 10
    max_bytes: int = 16 << 20
    factor: int = 4
    """Between one size and the next."""
    rounds: int = 20
    """How often each contender has its turn at each size."""
    volume: int = 16 << 20
    """Bytes of one turn, at least 3 and at most 200 exchanges."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.choices("transport", self.transport, Transport)
        options.at_least("rounds", self.rounds, 1)
        options.at_least("factor", self.factor, 2)
        for name, value in (("min-bytes", self.min_bytes), ("max-bytes", self.max_bytes)):
            if value % LEAST_BYTES or not LEAST_BYTES <= value <= MOST_BYTES:
                raise ArgumentError(
                    f"{name} is {value}, but must be a multiple of {LEAST_BYTES} between "
                    f"{LEAST_BYTES} and {MOST_BYTES}"
                )
        if self.min_bytes > self.max_bytes:
            raise ArgumentError(
                f"min-bytes is {self.min_bytes}, but max-bytes is {self.max_bytes}; exchange them"
            )

    def sizes(self) -> Iterator[int]:
        """All sizes, ascending."""
        size = self.min_bytes
        while size <= self.max_bytes:
            yield size
            size *= self.factor


def main(given: Options) -> int:
    """Measure, print, save; 1 when something came out wrong."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="transport", settings=given.settings(), notes=list(NOTES))
    plan = Plan(
        sizes=tuple(given.sizes()),
        transports=options.choices("transport", given.transport, Transport),
        rounds=given.rounds,
        volume=given.volume,
    )
    with options.progress_on(console) as tell:
        record.series += command.series_of(transport_rank.body, plan, RANKS, given.deadline_s, tell)
    return record


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, (row(record, series) for series in record.series))
    yield "#"
    yield from text.tail(record)


def row(record: Record, series: Series) -> Mapping[str, Value]:
    """The numbers of one series."""
    summary = series.summary()
    base = YARDSTICKS.get(series.contender)
    return {
        "size": series.bytes,
        "count": summary.count,
        "contender": series.contender,
        "time": summary.p50 * 1e6,
        "min": summary.min * 1e6,
        "p99": summary.p99 * 1e6,
        "cv": summary.cv,
        "algbw": series.gigabytes_per_second(),
        "x base": None if base is None else record.ratio(series, base),
        "x gloo": record.speed(series, gloo.NAME),
        "#wrong": series.wrong,
    }


def draw(record: Record, path: Path) -> None:
    """Lines of bandwidth over size."""
    plot.save(
        record,
        path,
        panel_of=lambda _: "one way, two ranks",
        along="bytes",
        value=lambda series: series.gigabytes_per_second(),
        unit="GB/s, median",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
