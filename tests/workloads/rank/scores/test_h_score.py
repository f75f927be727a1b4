"""H-score: against covariances of rows, and scikit-learn's shrinkage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.covariance import LedoitWolf
from tests.workloads.rank.problems import Problem, problem, problems

from crossdock.workloads.rank import NotAvailable, summarise
from crossdock.workloads.rank.scores import h_score, regularised_h_score
from crossdock.workloads.rank.scores.h_score import ledoit_wolf


def expected_by_rows(own: Problem) -> np.ndarray:
    """Each row replaced by the mean of its class."""
    means = np.stack([own.features[own.labels == c].mean(0) for c in range(own.classes)])
    return means[own.labels]


@settings(max_examples=40, deadline=None)
@given(problems)
def test_it_is_the_trace_of_covariances_of_rows(own: Problem) -> None:
    within = np.atleast_2d(np.cov(own.features, rowvar=False))
    between = np.atleast_2d(np.cov(expected_by_rows(own), rowvar=False))
    expected = np.trace(np.linalg.pinv(within, rcond=1e-12) @ between)
    got = h_score(summarise(own.features, own.labels, classes=own.classes))
    # Nearly dependent features: rounding grows as the condition of their covariance.
    assert got == pytest.approx(expected, rel=1e-9 + 1e-13 * np.linalg.cond(within))


@settings(max_examples=40, deadline=None)
@given(problems)
def test_the_regularised_one_shrinks_as_scikit_learn_does(own: Problem) -> None:
    fitted = LedoitWolf().fit(own.features)
    summary = summarise(own.features, own.labels, classes=own.classes)
    assert ledoit_wolf(summary) == pytest.approx(fitted.shrinkage_, rel=1e-7, abs=1e-12)
    between = np.atleast_2d(np.cov(expected_by_rows(own), rowvar=False, ddof=0))
    expected = (1 - fitted.shrinkage_) * np.trace(np.linalg.solve(fitted.covariance_, between))
    assert regularised_h_score(summary) == pytest.approx(expected, rel=1e-7)


def test_a_dead_and_a_repeated_feature_change_nothing() -> None:
    own = problem()
    wider = np.hstack([own.features, np.zeros((len(own.labels), 2)), own.features[:, :1]])
    plain = h_score(summarise(own.features, own.labels, classes=own.classes))
    padded = h_score(summarise(wider, own.labels, classes=own.classes))
    assert padded == pytest.approx(plain, rel=1e-9)


def test_it_does_not_depend_on_scale_or_origin() -> None:
    own = problem()
    moved = own.features * np.logspace(-3, 3, own.features.shape[1]) + 10
    plain = h_score(summarise(own.features, own.labels, classes=own.classes))
    other = h_score(summarise(moved, own.labels, classes=own.classes))
    assert other == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("far", [1.0, 1e2, 1e3, 1e4, 1e5, 1e7])
def test_features_far_from_zero_have_the_right_shrinkage_or_none(far: float) -> None:
    own = problem()
    shrinkage = LedoitWolf().fit(own.features).shrinkage_
    moved = far * own.features.std() + own.features
    summary = summarise(moved, own.labels, classes=own.classes)
    if far < 1e4:
        assert ledoit_wolf(summary) == pytest.approx(shrinkage, abs=1e-3)
    else:
        with pytest.raises(NotAvailable, match="too far from 0"):
            regularised_h_score(summary)


@pytest.mark.parametrize("score", [h_score, regularised_h_score])
def test_constant_features_have_none(score: object) -> None:
    assert callable(score)
    summary = summarise(np.full((20, 3), 1.7), np.arange(20) % 2, classes=2)
    with pytest.raises(NotAvailable, match="no feature varies"):
        score(summary)
