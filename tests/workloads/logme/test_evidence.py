"""The maximum of the evidence is the maximum, whatever the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.workloads.logme.brute_force import Brute, evidence, problem

from crossdock.workloads.logme import LogME

PROBLEMS = 200


@pytest.mark.parametrize("first", range(0, PROBLEMS, 50))
def test_it_is_what_brute_force_finds(first: int) -> None:
    kinds = set()
    for seed in range(first, first + 50):
        features, labels = problem(seed)
        model = LogME().fit(features, labels)
        kinds.add(model.solver_)
        for label, found in zip(model.classes_, model.evidences_, strict=True):
            column = (labels == label).astype(float)
            if found == np.inf:
                assert is_linear(features, column)
            else:
                assert abs(found - Brute(features, column).maximum()) < 1e-8, seed
    assert kinds == {"gram", "kernel", "root"}


def is_linear(features: Any, column: Any) -> bool:
    rank = np.linalg.matrix_rank(features)
    best = np.linalg.lstsq(features, column)[0]
    return bool(rank < len(column) and np.abs(features @ best - column).max() < 1e-10)


def test_the_brute_force_has_the_evidence_of_its_definition() -> None:
    for seed in (0, 1, 2, 3, 5):
        features, labels = problem(seed)
        column = (labels == 0).astype(float)
        brute = Brute(features, column)
        for alpha, beta in ((1.0, 1.0), (30.0, 0.2), (0.01, 70.0)):
            logs = np.log(alpha) - brute._scale, np.log(beta)
            np.testing.assert_allclose(-brute(logs), evidence(features, column, alpha, beta))


def bumpy(seed: int) -> tuple[Any, Any]:
    """Few strong features, many weak ones, each with labels of their own: two maxima."""
    dice = np.random.default_rng(seed)
    features = np.zeros((30, 20))
    features[:20] = np.diag([10.0 ** dice.uniform(2, 5)] * 6 + [1.0] * 14)
    sizes = [10 ** dice.uniform(*span) for span in ((-1, 2), (-1, 1), (-3, 0))]
    return features, dice.normal(size=30) * np.repeat(sizes, (6, 14, 10))


def test_of_two_maxima_the_higher_is_taken() -> None:
    strong = 0
    for seed in range(40):
        features, labels = bumpy(seed)
        model = LogME(task="regression").fit(features, labels)
        assert abs(model.score_ - Brute(features, labels).maximum()) < 1e-8, seed
        strong += model.alphas_[0] / model.betas_[0] < 1e-3 * features.max() ** 0.5
    assert 3 < strong < 37, "either maximum must win at times"


def test_precisions_fulfil_the_equations_of_the_fixed_point() -> None:
    dice = np.random.default_rng(3)
    features = dice.normal(size=(80, 9))
    labels = features @ dice.normal(size=9) + dice.normal(size=80)
    model = LogME(task="regression").fit(features, labels)
    alpha, beta, mean = model.alphas_[0], model.betas_[0], model.posterior_means_[0]
    sigma = np.linalg.eigvalsh(features.T @ features)
    gamma = (sigma / (sigma + alpha / beta)).sum()
    np.testing.assert_allclose(alpha, gamma / (mean @ mean), rtol=1e-9)
    np.testing.assert_allclose(beta, (80 - gamma) / ((labels - features @ mean) ** 2).sum())
    normal = alpha * np.eye(9) + beta * features.T @ features
    np.testing.assert_allclose(mean, beta * np.linalg.solve(normal, features.T @ labels))
    np.testing.assert_allclose(model.score_, evidence(features, labels, alpha, beta), rtol=1e-12)


def test_features_that_say_nothing_get_no_weight() -> None:
    features = np.zeros((40, 3))
    features[:20] = np.random.default_rng(0).normal(size=(20, 3))
    labels = np.r_[np.zeros(20), np.ones(20)]
    model = LogME(task="regression").fit(features, labels)
    assert model.alphas_.tolist() == [np.inf]
    assert not model.posterior_means_.any()
    assert model.betas_[0] == pytest.approx(2.0)
    assert model.score_ == pytest.approx(-0.5 * np.log(np.pi * np.e), rel=1e-14)


@pytest.mark.parametrize("solver", ["gram", "root", "kernel"])
def test_labels_that_are_linear_in_features_have_evidence_without_bound(solver: Any) -> None:
    dice = np.random.default_rng(0)
    features, weights = dice.normal(size=(40, 3)), dice.normal(size=3)
    model = LogME(task="regression", solver=solver).fit(features, features @ weights)
    assert model.score_ == np.inf
    assert model.betas_.tolist() == [np.inf]
    np.testing.assert_allclose(model.alphas_, 3 / (weights @ weights))
    np.testing.assert_allclose(model.posterior_means_[0], weights, rtol=1e-10)
    noisy = features @ weights + 1e-4 * dice.normal(size=40)
    assert LogME(task="regression").fit(features, noisy).score_ < 10


@pytest.mark.parametrize("solver", ["gram", "root", "kernel"])
def test_labels_without_noise_in_as_many_directions_have_a_limit(solver: Any) -> None:
    """y ~ N(0, F F'/alpha): then alpha alone is left."""
    dice = np.random.default_rng(0)
    features = dice.normal(size=(12, 15)) * 10.0 ** dice.uniform(-1, 1, 15)
    labels = features @ dice.normal(size=15)
    model = LogME(task="regression", solver=solver).fit(features, labels)
    kernel = features @ features.T
    alpha = 12 / (labels @ np.linalg.solve(kernel, labels))
    assert model.betas_.tolist() == [np.inf]
    np.testing.assert_allclose(model.alphas_, alpha, rtol=1e-8)
    expected = (12 * np.log(alpha / (2 * np.pi * np.e)) - np.linalg.slogdet(kernel)[1]) / 24
    np.testing.assert_allclose(model.score_, expected, rtol=1e-9)
    np.testing.assert_allclose(features @ model.posterior_means_[0], labels, rtol=1e-6)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scale", [1e-9, 3.7, 1e12])
def test_scores_do_not_depend_on_the_scale(seed: int, scale: float) -> None:
    features, labels = problem(seed)
    model, scaled = LogME().fit(features, labels), LogME().fit(scale * features, labels)
    np.testing.assert_allclose(scaled.evidences_, model.evidences_, atol=1e-9, rtol=0)
    np.testing.assert_allclose(scaled.alphas_ / scale**2, model.alphas_, rtol=1e-5)


def test_dead_and_doubled_columns_change_nothing_but_what_they_must() -> None:
    dice = np.random.default_rng(6)
    features, labels = dice.normal(size=(60, 8)), dice.integers(0, 3, 60)
    score = LogME().fit(features, labels).score_
    dead = np.hstack([features, np.zeros((60, 100))])
    assert LogME(solver="gram").fit(dead, labels).score_ == pytest.approx(score, abs=1e-12)
    assert LogME().fit(dead, labels).score_ == pytest.approx(score, abs=1e-12)
    doubled = LogME().fit(np.hstack([features, features]), labels)  # as sqrt(2) times each
    assert doubled.rank_ == 8
    assert doubled.score_ == pytest.approx(score, abs=1e-9)
