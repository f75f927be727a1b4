"""Contenders take turns: round by round, each does each step, all ranks beginning together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from crossdock.bench.ranks import Rank
from crossdock.bench.statistics import slowest, spans


class Interval(NamedTuple):
    """When a step began and ended on this rank, in seconds of the monotonic clock."""

    start: float
    end: float


def timed(step: Callable[[], object]) -> Interval:
    """Run a step and say when."""
    start = time.perf_counter()
    step()
    return Interval(start, time.perf_counter())


class Contender(Protocol):
    """One way to do the work, on one rank."""

    @property
    def name(self) -> str:
        """As it stands in the report."""

    def prepare(self, step: str) -> None:
        """Whatever must be there before the step, and is not part of it."""

    def run(self, step: str) -> Interval:
        """The step itself."""

    def count_wrong(self, step: str) -> int | None:
        """How many items of the step's last result are wrong; None: there is nothing to check."""

    def close(self) -> None:
        """Give everything back."""


class Timing(msgspec.Struct):
    """The intervals of one contender at one step, on one rank, and what was wrong in them."""

    starts: list[float] = []
    ends: list[float] = []
    wrong: int | None = None


Timings = dict[str, dict[str, Timing]]
"""By contender, then by step."""


def take_turns(
    rank: Rank,
    contenders: Sequence[Contender],
    steps: Sequence[str],
    rounds: int,
    warmups: int,
    tell: Callable[[int], None],
) -> Timings:
    """Measure; each round begins with another contender. Checks are not in the times."""
    timings: Timings = {c.name: {step: Timing() for step in steps} for c in contenders}
    for number in range(warmups + rounds):
        tell(number)
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            for step in steps:
                contender.prepare(step)
                rank.meet()
                interval = contender.run(step)
                timing = timings[contender.name][step]
                wrong = contender.count_wrong(step)
                if wrong is not None:
                    timing.wrong = (timing.wrong or 0) + wrong
                if number >= warmups:
                    timing.starts.append(interval.start)
                    timing.ends.append(interval.end)
    return timings


def merged(rank: Rank, timings: Timings) -> dict[str, dict[str, tuple[list[float], int | None]]]:
    """For each contender and step the seconds of each round over all ranks, and what was wrong."""
    gathered = [
        msgspec.json.decode(data, type=Timings)
        for data in rank.gather(msgspec.json.encode(timings))
    ]
    over_ranks = spans if rank.one_clock else slowest
    result: dict[str, dict[str, tuple[list[float], int | None]]] = {}
    for name, steps in timings.items():
        result[name] = {}
        for step in steps:
            each = [of_rank[name][step] for of_rank in gathered]
            seconds = over_ranks([t.starts for t in each], [t.ends for t in each])
            counted = [t.wrong for t in each if t.wrong is not None]
            result[name][step] = (seconds, sum(counted) if counted else None)
    return result
