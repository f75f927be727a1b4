"""Walks a grid of batches, contexts and lengths of drafts, whatever engine runs the steps."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from crossdock.proxy.errors import ArgumentError, CrossdockError
from crossdock.serving.turbospec.profile import Cell
from crossdock.serving.turbospec.step import Work

Samples = list[tuple[Work, float]]
"""Steps and their seconds."""


class ProfilingFailed(CrossdockError):
    """Nothing could be measured; the message says why."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is measured: each batch with each context, and in each of those every length.

    Raises:
        ArgumentError: an axis is empty, not rising, or has a value out of range.
    """

    requests: Sequence[int]
    contexts: Sequence[int]
    """Tokens of each request."""
    lengths: Sequence[int]
    """Of drafts; has 0, the step without speculation that all others are judged by."""
    repeats: int
    """Steps of each cell."""

    def __post_init__(self) -> None:
        axes = {"batches": self.requests, "contexts": self.contexts, "lengths": self.lengths}
        for name, axis in axes.items():
            least = 0 if name == "lengths" else 1
            if not axis or list(axis) != sorted(set(axis)) or axis[0] < least:
                raise ArgumentError(f"{name} must rise from {least} or more, got {list(axis)}")
        if self.lengths[0] != 0:
            raise ArgumentError(f"lengths must begin with 0, got {list(self.lengths)}")
        if self.repeats < 1:
            raise ArgumentError(f"repeats is {self.repeats}, but 1 is the least")

    def corners_first(self) -> Iterator[tuple[int, int]]:
        """Batches and contexts so that whatever is left out lies between what is measured."""
        places = itertools.product(_outside_in(self.requests), _outside_in(self.contexts))
        yield from (
            (requests, context)
            for (_, requests), (_, context) in sorted(
                places, key=lambda place: (max(place[0][0], place[1][0]), place[0][0])
            )
        )


class Engine(Protocol):
    """Runs steps of a given kind."""

    def refusal(self, requests: int, context: int, length: int) -> str | None:
        """Why it cannot run such steps; None: it can."""
        ...

    def fill(self, requests: int, context: int) -> None:
        """Have exactly so many requests decode, with so many tokens each."""
        ...

    def step(self, length: int) -> tuple[Work, float]:
        """Verify and propose drafts of this length for every request; how long it took."""
        ...

    def clear(self) -> None:
        """Have no request."""
        ...


Tell = Callable[[int, int, str], object]
"""Is told how many of how many parts are done, and which is next."""


def walk(
    grid: Grid,
    engine: Engine,
    limit_s: float,
    tell: Tell,
    now: Callable[[], float] = time.monotonic,
) -> tuple[list[Cell], list[str]]:
    """Measure as much of a grid as the time allows.

    Args:
        grid: what to measure.
        engine: runs the steps.
        limit_s: no part is begun after so many seconds; one that has begun is cut short.
        tell: of progress.
        now: seconds of a clock that only goes on.

    Returns:
        The cells, and for what was left out a line with the reason.

    Raises:
        ProfilingFailed: nothing was measured.
    """
    cells: list[Cell] = []
    left_out: list[str] = []
    end = now() + limit_s
    places = list(grid.corners_first())
    for place, (requests, context) in enumerate(places):
        name = f"{requests} requests with {context} tokens each"
        tell(place, len(places), name)
        lengths, refused = _possible(grid, engine, requests, context)
        left_out += [f"{name}: {line}" for line in refused]
        if not lengths:
            continue
        if now() >= end:
            left_out.append(f"{name}: no time was left")
            continue
        engine.fill(requests, context)
        try:
            samples, rounds = _rounds(grid, engine, lengths, end, now)
        finally:
            engine.clear()
        if rounds < grid.repeats:
            left_out.append(f"{name}: {grid.repeats - rounds} of {grid.repeats} repetitions")
        cells += [_cell(samples[length]) for length in lengths]
    if not cells:
        raise ProfilingFailed(f"nothing could be measured: {'; '.join(left_out)}")
    tell(len(places), len(places), "done")
    return sorted(cells, key=lambda cell: (cell.requests, cell.context, cell.tokens)), left_out


def _possible(
    grid: Grid, engine: Engine, requests: int, context: int
) -> tuple[list[int], list[str]]:
    """The lengths that the engine can run, and why not the others: once for each reason."""
    reasons = {length: engine.refusal(requests, context, length) for length in grid.lengths}
    possible = [length for length, reason in reasons.items() if reason is None]
    refused: dict[str, list[int]] = {}
    for length, reason in reasons.items():
        if reason is not None:
            refused.setdefault(reason, []).append(length)
    if not possible and len(refused) == 1:
        return [], list(refused)
    return possible, [
        f"lengths {', '.join(map(str, lengths))}: {reason}" for reason, lengths in refused.items()
    ]


def _rounds(
    grid: Grid, engine: Engine, lengths: Sequence[int], end: float, now: Callable[[], float]
) -> tuple[dict[int, Samples], int]:
    """Samples by length, and how many of each; at least one.

    All lengths have their turn in each round, so what disturbs the machine disturbs all of them.
    """
    samples: dict[int, Samples] = {length: [] for length in lengths}
    for done in range(grid.repeats):
        if done and now() >= end:
            return samples, done
        for length in lengths if done % 2 == 0 else reversed(lengths):
            engine.step(length)  # verifies what the step before has proposed: of another length
            samples[length].append(engine.step(length))
    return samples, grid.repeats


def _cell(samples: Samples) -> Cell:
    """The medians of steps that differ only in what was accepted in those before them."""
    works = [work for work, _ in samples]
    seconds = np.array([taken for _, taken in samples])
    low, median, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return Cell(
        requests=works[0].requests,
        tokens=works[0].tokens,
        context=int(np.median([work.context for work in works])),
        draft_length=works[0].draft_length,
        seconds=float(median),
        spread=float(high - low),
        count=len(samples),
    )


def _outside_in(axis: Sequence[int]) -> list[tuple[int, int]]:
    """Each value with its turn: both ends, the middle of what is between, and so on."""
    turns: list[int] = [0, len(axis) - 1]
    spans = [(0, len(axis) - 1)]
    while spans:
        low, high = spans.pop(0)
        middle = (low + high) // 2
        if low < middle < high:
            turns.append(middle)
            spans += [(low, middle), (middle, high)]
    return [(turn, axis[place]) for turn, place in enumerate(dict.fromkeys(turns))]
