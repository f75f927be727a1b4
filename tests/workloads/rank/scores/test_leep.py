"""LEEP and NCE: against sums over rows and labels, one at a time."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import mutual_info_score
from tests.workloads.rank.problems import Problem, problem, problems

from crossdock.workloads.rank import NotAvailable, summarise
from crossdock.workloads.rank.scores import leep, nce


def leep_by_rows(own: Problem) -> float:
    """The definition: p(y, z), p(z), and the mean of logs."""
    rows, sources = own.probabilities.shape
    joint = np.zeros((own.classes, sources))
    for label, theta in zip(own.labels, own.probabilities, strict=True):
        joint[label] += theta / rows
    marginal = joint.sum(axis=0)
    logs = [
        math.log(sum(joint[label, z] / marginal[z] * theta[z] for z in range(sources)))
        for label, theta in zip(own.labels, own.probabilities, strict=True)
    ]
    return float(np.mean(logs))


@settings(max_examples=30, deadline=None)
@given(problems)
def test_leep_is_the_mean_log_likelihood(own: Problem) -> None:
    summary = summarise(own.features, own.labels, **own.given)
    assert leep(summary) == pytest.approx(leep_by_rows(own), rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(problems)
def test_nce_is_minus_the_conditional_entropy(own: Problem) -> None:
    source = own.probabilities.argmax(1)
    counts = Counter(own.labels.tolist())
    rows = len(own.labels)
    entropy = -sum(n / rows * math.log(n / rows) for n in counts.values())
    expected = mutual_info_score(own.labels, source) - entropy
    summary = summarise(own.features, own.labels, **own.given)
    assert nce(summary) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_head_that_says_the_labels_has_the_best_scores() -> None:
    own = problem()
    sure = np.eye(own.classes)[own.labels]
    summary = summarise(own.features, own.labels, classes=own.classes, probabilities=sure)
    assert leep(summary) == 0
    assert nce(summary) == 0


def test_labels_alone_give_nce_but_no_leep() -> None:
    own = problem()
    source = own.probabilities.argmax(1)
    whole = summarise(own.features, own.labels, **own.given)
    labels_only = summarise(
        own.features, own.labels, classes=own.classes, source_labels=source, source_classes=5
    )
    assert nce(labels_only) == nce(whole)
    with pytest.raises(NotAvailable, match="no head that gives source probabilities"):
        leep(labels_only)


def test_without_a_head_there_is_neither() -> None:
    own = problem()
    summary = summarise(own.features, own.labels, classes=own.classes)
    for score in (leep, nce):
        with pytest.raises(NotAvailable, match="no head"):
            score(summary)


def test_of_a_sample_the_predictor_still_knows_all_rows() -> None:
    own = problem(rows=3000)
    sampled = np.zeros(3000, bool)
    sampled[::3] = True
    part = summarise(own.features, own.labels, sampled=sampled, **own.given)
    logs = leep_by_rows(own)
    assert len(part.labels) == 1000
    assert leep(part) != logs
    assert leep(part) == pytest.approx(logs, abs=0.05)
