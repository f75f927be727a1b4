from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.bench.statistics import flat, median_ratio, slowest, spans, summarise

seconds = st.floats(min_value=1e-9, max_value=1e3)


def test_summary_of_known_samples() -> None:
    summary = summarise([4.0, 1.0, 3.0, 2.0])
    assert (summary.count, summary.min, summary.max) == (4, 1.0, 4.0)
    assert summary.mean == summary.p50 == 2.5
    assert summary.stdev == pytest.approx(1.2909944)  # of a sample, not of a population
    assert summary.cv == pytest.approx(1.2909944 / 2.5)
    assert summary.p99 == pytest.approx(3.97)


def test_one_sample_has_no_spread() -> None:
    summary = summarise([2.0])
    assert summary.p50 == summary.p999 == 2.0
    assert summary.stdev == summary.cv == 0.0


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


@given(st.lists(seconds, min_size=1, max_size=50))
def test_percentiles_are_ordered(samples: list[float]) -> None:
    summary = summarise(samples)
    slack = summary.max * 1e-12
    ordered = (summary.min, summary.p50, summary.p99, summary.p999, summary.max)
    assert all(a <= b + slack for a, b in itertools.pairwise(ordered))


def test_ratio_compares_within_rounds() -> None:
    # The machine slows down tenfold half way, and once `over` is lucky.
    under = [[1.0], [1.0], [10.0], [10.0], [10.0]]
    over = [[2.0], [2.0], [20.0], [20.0], [2.0]]
    assert median_ratio(over, under) == 2.0


def test_ratio_takes_the_median_of_each_round() -> None:
    assert median_ratio([[1.0, 3.0, 100.0]], [[1.0]]) == 3.0


def test_ratio_of_different_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 rounds"):
        median_ratio([[1.0], [1.0]], [[1.0]])
    with pytest.raises(ValueError, match="0 and 0 rounds"):
        median_ratio([], [])


def test_span_covers_a_rank_that_began_late() -> None:
    starts, ends = [[0.0, 10.0], [1.0, 10.5]], [[1.0, 12.0], [2.0, 11.0]]
    assert spans(starts, ends) == [2.0, 2.0]
    assert slowest(starts, ends) == [1.0, 2.0]


def test_flat_keeps_the_order() -> None:
    assert flat([[1.0, 2.0], [], [3.0]]) == [1.0, 2.0, 3.0]
