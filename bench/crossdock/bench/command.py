"""What the benches have in common as commands: files to write, settings, ranks, exit status."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from crossdock.bench import launch, options, plot
from crossdock.bench.errors import BenchFailed
from crossdock.bench.ranks import Tell
from crossdock.bench.record import Record, Series
from crossdock.bench.text import say
from crossdock.proxy.errors import ArgumentError

EXIT_WRONG = 1
LONGEST_S = 2_000_000.0
"""The kernel counts the milliseconds of a wait in 31 bits."""


@dataclass(frozen=True)
class Common:
    """What every bench can be told."""

    deadline_s: float = 300.0
    """For all that one set of ranks does."""
    json: Path | None = None
    """Write all samples and what they depend on."""
    plot: Path | None = None
    """Draw the medians; needs matplotlib."""

    def __post_init__(self) -> None:
        options.between("deadline-s", self.deadline_s, 1, LONGEST_S)

    def settings(self) -> dict[str, Any]:
        """What the figures depend on."""
        hidden = {field.name for field in fields(Common)}
        given = asdict(self).items()
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in given
            if name not in hidden and value is not None
        }


def series_of(
    body: launch.Body, plan: Any, ranks: int, deadline_s: float, tell: Tell
) -> list[Series]:
    """What so many ranks on this host measure; see ``launch.run``."""
    return msgspec.json.decode(launch.run(body, plan, ranks, deadline_s, tell), type=list[Series])


def run(
    given: Common,
    measured: Callable[[], Record | None],
    lines: Callable[[Record], Iterable[str]],
    draw: Callable[[Record, Path], None],
) -> int:
    """Measure, print, save; the exit status. A rank of torchrun's other than 0 only measures."""
    if launch.leads():
        expect_files(given)  # before, not after: a run takes minutes
    record = measured()
    return 0 if record is None else deliver(given, record, lines, draw)


def expect_files(given: Common) -> None:
    """ArgumentError or BaselineMissing for files that could not be written after the run."""
    if given.plot is not None:
        plot.expect_drawable(given.plot)
    for name, path in (("json", given.json), ("plot", given.plot)):
        if path is None:
            continue
        try:
            _try_writing(path)
        except OSError as error:
            raise ArgumentError(
                f"--{name} {path} cannot be written: {error.strerror}; name a file in a folder "
                "that is there and may be written"
            ) from error


def _try_writing(path: Path) -> None:
    """OSError where it does not work; leaves everything as it was."""
    if path.is_fifo() or path.is_char_device():
        return  # who reads the other end would take this for the whole file
    target = Path(os.path.realpath(path))  # of a link only what it leads to is made and removed
    fresh = not target.exists()
    with target.open("ab"):
        pass
    if fresh:
        target.unlink()


def deliver(
    given: Common,
    record: Record,
    lines: Callable[[Record], Iterable[str]],
    draw: Callable[[Record, Path], None],
) -> int:
    """Print and save; the exit status, which says whether anything came out wrong."""
    try:
        for line in lines(record):
            say(line)
    finally:
        _save(given, record, draw)  # even where nobody reads the report to its end
    return EXIT_WRONG if record.wrong else 0


def _save(given: Common, record: Record, draw: Callable[[Record, Path], None]) -> None:
    try:
        if given.json is not None:
            record.save(given.json)
        if given.plot is not None:
            draw(record, given.plot)
    except OSError as error:
        raise BenchFailed(f"the results could not be saved: {error}") from error
