"""The grid is walked from its corners inwards, within the time, whatever the engine is."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from tests.serving.turbospec.test_cost import COSTS

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import Work
from crossdock.serving.turbospec.fitting import errors, fit
from crossdock.serving.turbospec.profiling import Grid, ProfilingFailed, walk

GRID = Grid([1, 4, 16, 64], [64, 1024], [0, 1, 3, 7], repeats=5)


class Synthetic:
    """An engine whose steps take what a cost model says, give or take."""

    def __init__(self, most_tokens: int = 1 << 20, scatter: float = 0.0) -> None:
        self.now_s = 0.0
        self.filled: list[tuple[int, int]] = []
        self.live = 0
        self._most_tokens = most_tokens
        self._scatter = scatter
        self._dice = random.Random(3)
        self._length = 0

    def refusal(self, requests: int, context: int, length: int) -> str | None:
        tokens = requests * (length + 1)
        return None if tokens <= self._most_tokens else f"at most {self._most_tokens} tokens"

    def fill(self, requests: int, context: int) -> None:
        assert self.live == 0
        self.live = requests
        self.filled.append((requests, context))

    def step(self, length: int) -> tuple[Work, float]:
        requests, context = self.filled[-1]
        work = Work(requests, requests * (self._length + 1), requests * context, length)
        self._length = length
        seconds = COSTS.seconds(work) * (1 + self._scatter * self._dice.uniform(-1, 1))
        self.now_s += seconds
        return work, seconds

    def clear(self) -> None:
        self.live = 0

    def now(self) -> float:
        return self.now_s


def quiet(done: int, total: int, text: str) -> None:
    assert done <= total


def test_costs_are_found_through_scatter() -> None:
    engine = Synthetic(scatter=0.2)
    cells, left_out = walk(GRID, engine, 1e9, quiet, engine.now)
    assert left_out == []
    assert len(cells) == 4 * 2 * 4
    assert {cell.count for cell in cells} == {5}
    assert all(cell.tokens == cell.requests * (cell.draft_length + 1) for cell in cells)
    costs = fit([(cell.work, cell.seconds) for cell in cells])
    assert errors(costs, [(cell.work, COSTS.seconds(cell.work)) for cell in cells]).p90 < 0.15
    assert engine.live == 0


def test_what_the_engine_cannot_run_is_left_out_with_its_reason() -> None:
    engine = Synthetic(most_tokens=128)
    cells, left_out = walk(GRID, engine, 1e9, quiet, engine.now)
    assert left_out == [
        "64 requests with 64 tokens each: lengths 3, 7: at most 128 tokens",
        "64 requests with 1024 tokens each: lengths 3, 7: at most 128 tokens",
    ]
    assert max(cell.tokens for cell in cells) == 128
    none = Synthetic(most_tokens=0)
    with pytest.raises(ProfilingFailed, match="1 requests with 64 tokens each: at most 0 tokens"):
        walk(GRID, none, 1e9, quiet, none.now)


def test_time_that_ends_leaves_the_inside_out() -> None:
    everything = Synthetic()
    walk(GRID, everything, 1e9, quiet, everything.now)
    engine = Synthetic()
    cells, left_out = walk(GRID, engine, everything.now_s * 0.6, quiet, engine.now)
    assert {(cell.requests, cell.context // cell.requests) for cell in cells} >= {
        (1, 64),
        (1, 1024),
        (64, 64),
        (64, 1024),
    }
    assert any("no time was left" in line for line in left_out)
    assert engine.now_s < everything.now_s * 0.8


def test_one_repetition_is_always_made() -> None:
    engine = Synthetic()
    cells, left_out = walk(GRID, engine, 1e-9, quiet, engine.now)
    assert {cell.count for cell in cells} == {1}
    assert "1 requests with 64 tokens each: 4 of 5 repetitions" in left_out


def test_an_engine_that_fails_is_cleared() -> None:
    class Failing(Synthetic):
        def step(self, length: int) -> tuple[Work, float]:
            raise ProfilingFailed("requests have left")

    engine = Failing()
    with pytest.raises(ProfilingFailed, match="have left"):
        walk(GRID, engine, 1e9, quiet, engine.now)
    assert engine.live == 0


def test_corners_come_first() -> None:
    order = list(Grid([1, 2, 4, 8, 16], [32, 64, 128], [0], 1).corners_first())
    assert set(order[:4]) == {(1, 32), (1, 128), (16, 32), (16, 128)}
    assert len(order) == len(set(order)) == 15


@pytest.mark.parametrize(
    ("requests", "contexts", "lengths", "repeats", "said"),
    [
        ([], [1], [0], 1, "batches must rise"),
        ([4, 1], [1], [0], 1, "batches must rise"),
        ([0, 1], [1], [0], 1, "batches must rise from 1"),
        ([1], [8, 8], [0], 1, "contexts must rise"),
        ([1], [8], [1, 2], 1, "lengths must begin with 0"),
        ([1], [8], [-1, 0], 1, "lengths must rise from 0"),
        ([1], [8], [0], 0, "repeats is 0"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(
    requests: Sequence[int],
    contexts: Sequence[int],
    lengths: Sequence[int],
    repeats: int,
    said: str,
) -> None:
    with pytest.raises(ArgumentError, match=said):
        Grid(requests, contexts, lengths, repeats)
