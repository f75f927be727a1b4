"""`crossdock bench ring`: commands a second through the ring, and from command to completion.

Threads are pinned: the consumer to one core, the producers to the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from crossdock.bench import command, options, plot, ring_rank, text
from crossdock.bench.baselines import queues
from crossdock.bench.command import Common
from crossdock.bench.record import Record, Series
from crossdock.bench.ring_rank import LATENCY, STREAM, Plan
from crossdock.bench.text import Column, Value
from crossdock.proxy import schema

RANKS = 2
"""One measures; the other is the peer that commands write to."""

NOTES = (
    "the consumer has a core of its own; producers share the others;",
    "a consumer that has caught up pauses for a moment, as a proxy polls its transport;",
    "mutex: std::deque under a std::mutex, bounded, consumer polls, a batch under one lock;",
    "python: queue.SimpleQueue between two threads, one at a time;",
    "latency: one command at a time, from push to completion, both ends of the interval included",
)

STREAM_COLUMNS = (
    Column("contender", "", 9, left=True),
    Column("producers", "", 9),
    Column("batch", "", 5),
    Column("rate", "M/s", 8, 2),
    Column("best", "M/s", 8, 2),
    Column("worst", "M/s", 8, 2),
    Column("cv", "", 5, 2),
    Column("x mutex", "", 7, 2),
    Column("#wrong", "", 6),
)

LATENCY_COLUMNS = (
    Column("path", "", 28, left=True),
    Column("bytes", "B", 7),
    Column("count", "", 7),
    Column("min", "us", 8, 3),
    Column("typical", "us", 8, 3),
    Column("avg", "us", 8, 3),
    Column("stdev", "us", 8, 3),
    Column("99%", "us", 8, 3),
    Column("99.9%", "us", 8, 3),
    Column("max", "us", 9, 3),
)


@dataclass(frozen=True)
class Options(Common):
    """Commands per second and latency, beside a locked queue and Python's."""

    producers: str = "1,4"
    """Numbers of producers that share the ring, with commas."""
    batches: str = "1,32"
    """Commands of one push, with commas."""
    commands: int = 8_000_000
    """Of all producers together in one turn; locked and Python queues get fewer."""
    bytes: int = 64
    """Of a write whose latency is measured."""
    exchanges: int = 2000
    """Latencies of one turn."""
    rounds: int = 10
    """How often each contender has its turn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.numbers("producers", self.producers, 1, ring_rank.MOST_PRODUCERS)
        options.numbers("batches", self.batches, 1, ring_rank.MOST_BATCH)
        options.at_least("rounds", self.rounds, 1)
        options.at_least("commands", self.commands, 1000)
        options.at_least("exchanges", self.exchanges, 1)
        options.between("bytes", self.bytes, schema.GRANULE_BYTES, ring_rank.REGION_BYTES)


def main(given: Options) -> int:
    """Measure, print, save; 1 when a command came out wrong."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="ring", settings=given.settings(), notes=list(NOTES))
    plan = Plan(
        producers=options.numbers("producers", given.producers, 1),
        batches=options.numbers("batches", given.batches, 1),
        commands=given.commands,
        bytes=given.bytes,
        exchanges=given.exchanges,
        rounds=given.rounds,
    )
    with options.progress_on(console) as tell:
        record.series += command.series_of(ring_rank.body, plan, RANKS, given.deadline_s, tell)
    return record


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    streams = [series for series in record.series if series.point["kind"] == STREAM]
    yield from text.table(STREAM_COLUMNS, (stream_row(record, series) for series in streams))
    yield "#"
    latencies = [series for series in record.series if series.point["kind"] == LATENCY]
    yield from text.table(LATENCY_COLUMNS, (latency_row(series) for series in latencies))
    yield "#"
    yield from text.tail(record)


def stream_row(record: Record, series: Series) -> Mapping[str, Value]:
    """Of a throughput; a sample is seconds a command."""
    summary = series.summary()
    return {
        "contender": series.contender,
        "producers": series.point["producers"],
        "batch": series.point["batch"],
        "rate": 1e-6 / summary.p50,
        "best": 1e-6 / summary.min,
        "worst": 1e-6 / summary.max,
        "cv": summary.cv,
        "x mutex": record.speed(series, queues.LOCKED),
        "#wrong": series.wrong,
    }


def latency_row(series: Series) -> Mapping[str, Value]:
    """Of a latency, as perftest prints it."""
    summary = series.summary()
    return {
        "path": series.contender,
        "bytes": series.bytes,
        "count": summary.count,
        "min": summary.min * 1e6,
        "typical": summary.p50 * 1e6,
        "avg": summary.mean * 1e6,
        "stdev": summary.stdev * 1e6,
        "99%": summary.p99 * 1e6,
        "99.9%": summary.p999 * 1e6,
        "max": summary.max * 1e6,
    }


def draw(record: Record, path: Path) -> None:
    """Bars of the medians: nanoseconds a command, and nanoseconds to completion."""
    plot.save(
        record,
        path,
        panel_of=lambda series: str(series.point["kind"]),
        along="what",
        value=lambda series: series.summary().p50 * 1e9,
        unit="ns, median",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
