"""GBC: against overlaps that are integrated, and loops over pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import integrate, stats
from sklearn.decomposition import PCA
from tests.workloads.rank.problems import Problem, problem, problems

from crossdock.workloads.rank import NotAvailable, summarise
from crossdock.workloads.rank.scores import gbc


@settings(max_examples=30, deadline=None)
@given(problems)
def test_it_is_minus_the_sum_of_overlaps_of_pairs(own: Problem) -> None:
    width = own.features.shape[1]
    reduced = PCA(min(64, width), svd_solver="full").fit_transform(own.features)
    classes = [reduced[own.labels == c] for c in range(own.classes)]
    means = [rows.mean(0) for rows in classes]
    variances = [np.maximum(rows.var(0), 1e-4).mean() for rows in classes]
    total = 0.0
    for i in range(own.classes):
        for j in range(own.classes):
            if i == j:
                continue
            middle = (variances[i] + variances[j]) / 2
            gap = ((means[i] - means[j]) ** 2).sum() / middle / 8
            shape = math.log(middle**width / math.sqrt((variances[i] * variances[j]) ** width)) / 2
            total += math.exp(-(gap + shape))
    got = gbc(summarise(own.features, own.labels, classes=own.classes))
    assert got == pytest.approx(-total, rel=1e-7, abs=1e-12)


def test_of_one_feature_it_is_the_integral_of_the_root_of_both_densities() -> None:
    own = problem(width=1, classes=2, rows=500)
    first, second = (
        stats.norm(own.features[own.labels == c].mean(), own.features[own.labels == c].std())
        for c in range(2)
    )
    overlap, _ = integrate.quad(lambda x: math.sqrt(first.pdf(x) * second.pdf(x)), -60, 60)
    got = gbc(summarise(own.features, own.labels, classes=2))
    assert got == pytest.approx(-2 * overlap, rel=1e-6)


def test_only_the_first_sixty_four_components_count() -> None:
    own = problem(width=6)
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(80, 80)))[0]
    coordinates = rng.normal(size=(len(own.labels), 80)) * np.linspace(3, 1, 80)
    coordinates[:, :4] += 4 * np.eye(4)[own.labels]
    wide = coordinates @ basis
    reduced = PCA(64, svd_solver="full").fit_transform(wide)
    got = gbc(summarise(wide, own.labels, classes=own.classes))
    assert got == pytest.approx(gbc(summarise(reduced, own.labels, classes=own.classes)), rel=1e-6)


def test_a_single_class_has_none() -> None:
    with pytest.raises(NotAvailable, match="fewer than two classes"):
        gbc(summarise(np.random.default_rng(0).normal(size=(20, 3)), [0] * 20, classes=2))
