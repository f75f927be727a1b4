"""The record of a run: every sample, and what it depends on. What the JSON file holds."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import msgspec

from crossdock.bench import machine
from crossdock.bench.statistics import Summary, flat, median_ratio, summarise
from crossdock.proxy.provenance import git_revision

FORMAT = 1
"""Raised when a reader of older files would misread a newer one."""

OURS = "crossdock"
"""How the names of crossdock's contenders begin."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one contender at one point of a sweep."""

    contender: str
    point: dict[str, str | int]
    """Where in the sweep: operation, size, ranks and the like; contenders at one point compete."""
    rounds: list[list[float]]
    """Seconds, by rounds: of one item, where a sample has many."""
    bytes: int = 0
    """What an item moves, or takes of memory; 0 where that says nothing."""
    count: int = 1
    """Items that a sample is the mean of, or pieces that an item has."""
    wrong: int | None = None
    """Items that came out wrong; None: not checked."""

    def summary(self) -> Summary:
        """Of the samples of all rounds."""
        return summarise(flat(self.rounds))

    def gigabytes_per_second(self) -> float:
        """Of the median sample."""
        return self.bytes / self.summary().p50 / 1e9


class Record(msgspec.Struct, kw_only=True):
    """A run. The file also says what it is and how it was made."""

    question: str
    settings: dict[str, Any]
    series: list[Series] = []
    notes: list[str] = []
    """What a reader must know: how times are taken, which baselines were skipped and why."""
    format: int = FORMAT
    argv: list[str] = msgspec.field(default_factory=lambda: list(sys.argv))
    started: str = msgspec.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    git: str = msgspec.field(default_factory=git_revision)
    versions: dict[str, str] = msgspec.field(default_factory=machine.versions)
    machine: machine.Machine = msgspec.field(default_factory=machine.machine)

    def ratio(self, series: Series, contender: str) -> float | None:
        """How many times as long as `contender` at the same point `series` takes.

        None where that contender did not run.
        """
        for rival in self.series:
            if rival.contender == contender and rival.point == series.point:
                return median_ratio(series.rounds, rival.rounds)
        return None

    def speed(self, series: Series, contender: str) -> float | None:
        """How many times as fast as `contender` at the same point `series` is."""
        ratio = self.ratio(series, contender)
        return None if ratio is None else 1 / ratio

    @property
    def wrong(self) -> int:
        """Items that came out wrong in the whole run."""
        return sum(series.wrong or 0 for series in self.series)

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def load(path: Path) -> Record:
    """Read a file that ``save`` wrote; ValueError for one of another format."""
    record = msgspec.json.decode(path.read_bytes(), type=Record)
    if record.format != FORMAT:
        raise ValueError(f"{path} has format {record.format}, but this reads format {FORMAT}")
    return record
