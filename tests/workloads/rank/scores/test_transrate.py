"""TransRate: against singular values of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from tests.workloads.rank.problems import Floats, Problem, problem, problems

from crossdock.workloads.rank import NotAvailable, summarise
from crossdock.workloads.rank.scores import transrate


def rate(rows: Floats) -> float:
    """ln det(I + A) = sum ln(1 + s^2) over singular values of the scaled rows."""
    singular = np.linalg.svd(rows / np.sqrt(len(rows) * 1e-4), compute_uv=False)
    return float(np.log1p(singular**2).sum() / 2)


@settings(max_examples=40, deadline=None)
@given(problems)
def test_it_is_the_rate_of_all_less_the_mean_rate_of_classes(own: Problem) -> None:
    centred = own.features - own.features.mean(0)
    classes = [rate(centred[own.labels == c]) for c in range(own.classes)]
    expected = rate(centred) - float(np.mean(classes))
    got = transrate(summarise(own.features, own.labels, classes=own.classes))
    assert got == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_a_class_without_rows_does_not_count() -> None:
    own = problem()
    few = transrate(summarise(own.features, own.labels, classes=own.classes))
    many = transrate(summarise(own.features, own.labels, classes=own.classes + 3))
    assert many == few


def test_without_moments_by_class_there_is_none() -> None:
    own = problem()
    summary = summarise(own.features, own.labels, classes=own.classes, by_class=False)
    with pytest.raises(NotAvailable, match="second moments by class"):
        transrate(summary)
