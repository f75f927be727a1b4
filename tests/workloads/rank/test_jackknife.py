"""The jackknife: against the variance of a mean, and against leaving rows out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from tests.workloads.rank.problems import problem

from crossdock.workloads.rank import Summary, summarise
from crossdock.workloads.rank.jackknife import half_width, without_each


def folds_of(features: np.ndarray, count: int) -> list[Summary]:
    labels = np.arange(len(features)) // count % 2
    numbers = np.arange(len(features))
    return [
        summarise(features[f::count], labels[f::count], classes=2, numbers=numbers[f::count])
        for f in range(count)
    ]


def test_of_a_mean_it_is_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1))
    expected = stats.sem(values[:, 0]) * stats.t.ppf(0.975, 39)
    got = half_width(lambda summary: float(summary.mean[0]), without_each(folds_of(values, 40)))
    assert got == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_each_fold_is_left_out_once(count: int) -> None:
    own = problem(rows=60)
    folds = folds_of(own.features, count)
    rests = without_each(folds)
    assert len(rests) == count
    for fold, rest in enumerate(rests):
        expected = np.delete(np.arange(60), np.arange(60)[fold::count])
        np.testing.assert_array_equal(rest.numbers, expected)
        assert math.isclose(rest.statistics.sums[0], own.features[expected, 0].sum())


def test_one_fold_leaves_nothing() -> None:
    assert without_each(folds_of(problem().features, 1)) == []
