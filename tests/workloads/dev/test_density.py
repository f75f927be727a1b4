"""Density ratios: right ones, decays that are chosen, models that collapse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.workloads.dev import Logistic, Mlp, density
from crossdock.workloads.dev.discriminators import Discriminator, Fitted

SHIFT = 1.0


def domains(source: int, target: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    near, far = random.normal(size=(source, 2)), random.normal(size=(target, 2))
    far[:, 0] += SHIFT
    return near, far


def truth(features: np.ndarray) -> np.ndarray:
    return np.exp(SHIFT * features[:, 0] - SHIFT**2 / 2)


@pytest.mark.parametrize(("source", "target"), [(2000, 2000), (3000, 500), (500, 3000)])
def test_ratio_does_not_depend_on_how_many_samples_there_are(source: int, target: int) -> None:
    ratio = density.fit(*domains(source, target), Logistic(), (1e-3, 1e-5), 3, 0)
    fresh, _ = domains(2000, 1, seed=1)
    weights = ratio.weights(fresh)
    assert weights.mean() == pytest.approx(1, abs=0.15)
    assert np.median(weights / truth(fresh)) == pytest.approx(1, abs=0.15)


def test_mlp_gives_a_ratio_too() -> None:
    ratio = density.fit(*domains(1000, 1000), Mlp(hidden=8), (1e-3,), 2, 0)
    fresh, _ = domains(1000, 1, seed=1)
    assert np.corrcoef(np.log(ratio.weights(fresh)), np.log(truth(fresh)))[0, 1] > 0.9


@given(st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=4))
def test_ratio_of_several_is_that_of_their_mean_probability(odds: list[list[float]]) -> None:
    target = (1 / (1 + np.exp(-np.array(odds)))).mean(axis=0)
    source = (1 / (1 + np.exp(np.array(odds)))).mean(axis=0)
    np.testing.assert_allclose(
        density.ratio_of(np.array(odds), np.log(3)), 3 * target / source, rtol=1e-9
    )


def test_extreme_odds_are_no_nan() -> None:
    ratios = density.ratio_of(np.array([[-1e4, 0.0, 1e4]]), 0.0)
    np.testing.assert_array_equal(ratios, [0, 1, np.inf])


@dataclass(frozen=True)
class Scripted:
    """Knows which decay is right how often, and which models are constant."""

    odds: np.ndarray  # (folds, decays): factor of the right log-odds
    features: int = 0

    def fit(
        self,
        features: np.ndarray,
        is_target: np.ndarray,
        parts: Sequence[np.ndarray],
        decays: Sequence[float],
        seed: int,
    ) -> Fitted:
        assert list(decays) == sorted(decays, reverse=True)
        return self

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(self.odds[:, :, None] * features[:, 0])


def scripted(odds: list[list[float]]) -> density.DensityRatio:
    method: Discriminator = Scripted(np.array(odds))
    return density.fit(*domains(300, 300), method, (1e-3, 1e-1, 1e-2), len(odds), 0)


def test_the_decay_that_is_right_most_often_is_chosen() -> None:
    ratio = scripted([[-1, -1, 1], [-1, 1, 1]])
    assert ratio.decays == (1e-1, 1e-2, 1e-3)
    assert ratio.choice == 2
    assert ratio.accuracies[2] > ratio.accuracies[1] > ratio.accuracies[0]


def test_the_larger_decay_wins_a_tie() -> None:
    assert scripted([[-1, 1, 2], [-1, 2, 4]]).choice == 1


def test_a_collapsed_fold_is_left_out() -> None:
    whole, half = scripted([[1, 1, 1], [1, 1, 1]]), scripted([[0, 0, 0], [1, 1, 1]])
    features, _ = domains(50, 1, seed=1)
    assert half.collapsed.tolist() == [[True] * 3, [False] * 3]
    assert half.choice == 0
    np.testing.assert_allclose(half.weights(features), whole.weights(features))


def test_a_collapsed_decay_is_not_chosen() -> None:
    ratio = scripted([[0, -0.1, -0.2], [0, -0.1, -0.2]])  # a constant would be right more often
    assert np.isnan(ratio.accuracies[0])
    assert ratio.choice == 1


def test_all_collapsed_gives_a_constant() -> None:
    ratio = scripted([[0, 0, 0], [1e-6, 0, 0]])
    assert ratio.choice is None
    weights = ratio.weights(domains(50, 1)[0])
    assert np.ptp(weights) == 0
    assert weights[0] == pytest.approx(1)
