"""What the benches have in common as commands: files to write, settings, ranks, exit status."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from crossdock.bench import launch, options
from crossdock.bench.ranks import Tell
from crossdock.bench.record import Record, Series
from crossdock.bench.text import say

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
        return {name: value for name, value in given if name not in hidden and value is not None}


def series_of(
    body: launch.Body, plan: Any, ranks: int, deadline_s: float, tell: Tell
) -> list[Series]:
    """What so many ranks on this host measure; see ``launch.run``."""
    return msgspec.json.decode(launch.run(body, plan, ranks, deadline_s, tell), type=list[Series])


def deliver(
    given: Common,
    record: Record,
    lines: Callable[[Record], Iterable[str]],
    draw: Callable[[Record, Path], None],
) -> int:
    """Print and save; the exit status, which says whether anything came out wrong."""
    for line in lines(record):
        say(line)
    if given.json is not None:
        record.save(given.json)
    if given.plot is not None:
        draw(record, given.plot)
    return EXIT_WRONG if record.wrong else 0
