"""Costs that were never profiled are found while the engine serves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.serving.turbospec.cost import CostModel, rough
from crossdock.serving.turbospec.learning import Learning
from crossdock.serving.turbospec.step import Work

SAME = (1.0, 1.0, 1.0, 1.0)
TRUTH = CostModel(
    step_s=2e-3,
    request_s=2e-6,
    context_s=1e-9,
    knots=(0.0, 256.0, 1024.0),
    knots_s=(5e-3, 5e-3, 20e-3),
    draft_s=1e-3,
    draft_token_s=1e-3,
    draft_request_s=0.0,
)
"""Flat up to 256 tokens, as where weights are read, and steep from there on."""


def decoding(requests: int, length: int) -> Work:
    return Work(requests, requests * (1 + length), requests * 400, length)


def learnt(works: list[Work], noise: float = 0.03, rounds: int = 20) -> CostModel:
    """Steps of all works by turns, fits whenever one is due."""
    rng = np.random.default_rng(1)
    learning, costs = Learning(8), rough(TRUTH.seconds(works[0]), works[0].tokens)
    for work in works * rounds:
        scatter = float(np.exp(noise * rng.standard_normal()))
        if learning.saw(work, TRUTH.seconds(work) * scatter):
            costs = fitted(learning, costs)
    return costs


def fitted(learning: Learning, believed: CostModel) -> CostModel:
    costs = learning.costs(believed, SAME)
    assert costs is not None
    return costs


def test_a_line_that_bends_is_found() -> None:
    works = [decoding(requests, length) for requests in (16, 64, 96) for length in (0, 1, 2, 4, 7)]
    first, costs = rough(TRUTH.seconds(works[0]), works[0].tokens), learnt(works)
    for work in works:
        assert costs.seconds(work) == pytest.approx(TRUTH.seconds(work), rel=0.06)
    assert max(abs(first.seconds(work) / TRUTH.seconds(work) - 1) for work in works) > 0.3


def test_what_was_not_seen_is_believed_as_before() -> None:
    costs = learnt([decoding(8, 0), decoding(8, 1)])
    first = rough(TRUTH.seconds(decoding(8, 0)), 8)
    for length in (4, 8):
        longer, shorter = decoding(8, length), decoding(8, 1)
        added = costs.seconds(longer) - costs.seconds(shorter)
        assert added == pytest.approx(first.seconds(longer) - first.seconds(shorter), rel=0.3)


def test_fits_are_due_often_at_first_and_seldom_later() -> None:
    learning = Learning(4)
    due = [step for step in range(1, 40_000) if learning.saw(decoding(4, 1), 0.01)]
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert due[0] == gaps[0] == 32
    assert gaps == sorted(gaps)
    assert gaps[-1] == 512


def test_an_engine_that_has_become_slower_is_noticed() -> None:
    learning, work = Learning(4), decoding(32, 2)
    costs = rough(0.01, 96)
    for seconds in (0.01, 0.02):
        for _ in range(100):
            learning.saw(work, seconds)
        costs = fitted(learning, costs)
        assert costs.seconds(work) == pytest.approx(seconds, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 512),
            st.integers(0, 8192),
            st.integers(0, 1 << 22),
            st.integers(0, 8),
            st.floats(1e-6, 600.0),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_any_steps_give_a_model(steps) -> None:  # type: ignore[no-untyped-def]
    """A cost model checks itself: no coefficient is negative, no line falls."""
    learning = Learning(8)
    for requests, tokens, context, length, seconds in steps:
        learning.saw(Work(requests, tokens, context, length), seconds)
    costs = learning.costs(rough(0.01, 1), (0.02, 100.0, 0.02, 100.0))
    assert costs is not None
    assert costs.seconds(decoding(4, 2)) > 0


def test_no_more_than_so_many_kinds_are_kept() -> None:
    learning = Learning(8)
    for requests, length in itertools.product(range(1, 257), range(9)):
        learning.saw(decoding(requests, length), 0.01)
    assert len(learning._cells) == 512
