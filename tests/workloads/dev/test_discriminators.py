"""Discriminators: what they learn, that decays act, that seeds decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_expit
from sklearn.neural_network import MLPClassifier

from crossdock.workloads.dev import Logistic, Mlp
from crossdock.workloads.dev.discriminators import Discriminator

SHIFT = 1.5
DECAYS = (1.0, 1e-3)


def domains(n: int = 600, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two normal distributions whose log-odds are SHIFT * x_0 - SHIFT^2 / 2."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, d))
    is_target = np.repeat([0.0, 1.0], n // 2)
    features[:, 0] += SHIFT * is_target
    return features, is_target


def log_loss(odds: np.ndarray, is_target: np.ndarray) -> float:
    return float(-np.mean(log_expit(np.where(is_target > 0, odds, -odds))))


@pytest.mark.parametrize("method", [Logistic(), Mlp()], ids=["logistic", "mlp"])
def test_log_odds_are_learned_and_decay_shrinks_them(method: Discriminator) -> None:
    features, is_target = domains(2000)
    parts = [np.arange(0, 2000, 2), np.arange(1, 2000, 2)]
    odds = method.fit(features, is_target, parts, DECAYS, 0).log_odds(features)
    assert odds.shape == (2, 2, 2000)
    assert odds.dtype == np.float64
    right = SHIFT * features[:, 0] - SHIFT**2 / 2
    for part in odds:
        assert np.corrcoef(part[1], right)[0, 1] > 0.9
        assert part[0].std() < part[1].std() / 1.5
    assert not np.array_equal(odds[0], odds[1]), "parts must not share a model"


def test_mlp_learns_what_no_line_separates() -> None:
    features, is_target = domains(d=2)
    features[:300] = features[:300] * 0.3 + [SHIFT, 0]  # the source is in the target's middle
    parts = [np.arange(600)]
    losses = {
        type(method): log_loss(
            method.fit(features, is_target, parts, (1e-4,), 0).log_odds(features)[0, 0], is_target
        )
        for method in (Logistic(), Mlp(hidden=16))
    }
    assert losses[Mlp] < losses[Logistic] - 0.1


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_mlp_learns_as_well_as_scikit_learns() -> None:
    features, is_target = domains(1200)
    order = np.random.default_rng(0).permutation(1200)
    train, held = order[:800], order[800:]
    ours = Mlp(hidden=16).fit(features, is_target, [train], (1e-3,), 0).log_odds(features[held])
    theirs = MLPClassifier((16, 16), alpha=1e-3, max_iter=40, random_state=0)
    theirs.fit(features[train], is_target[train])
    probabilities = theirs.predict_proba(features[held])[:, 1]
    rival = log_loss(np.log(probabilities / (1 - probabilities)), is_target[held])
    assert log_loss(ours[0, 0], is_target[held]) < rival + 0.05


def test_the_seed_of_an_mlp_decides() -> None:
    features, is_target = domains(200)

    def odds(seed: int) -> np.ndarray:
        fitted = Mlp(epochs=5).fit(features, is_target, [np.arange(200)], (1e-3,), seed)
        return np.asarray(fitted.log_odds(features))

    torch.manual_seed(1)
    one = odds(0)
    torch.manual_seed(2)
    np.testing.assert_array_equal(one, odds(0), "nothing but the seed given")
    assert np.abs(one - odds(1)).max() > 1e-3


def test_models_side_by_side_do_not_touch_each_other() -> None:
    """The gradient of the sum of losses is each one's own; decays apart, so are the models."""
    features, is_target = domains(200)
    parts = [np.arange(200)]

    def last(decays: tuple[float, ...], features: np.ndarray) -> np.ndarray:
        method = Mlp(hidden=None, epochs=3)
        return np.asarray(method.fit(features, is_target, parts, decays, 0).log_odds(features)[0])

    mild, harsh = last((1e-3, 1e-3), features), last((1e-3, 10.0), features)
    np.testing.assert_allclose(mild[0], harsh[0], rtol=1e-4, atol=1e-5)
    assert np.abs(mild[1] - harsh[1]).max() > 1e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mlp_on_a_gpu_learns_the_same() -> None:
    features, is_target = domains()
    parts = [np.arange(600)]
    cpu, gpu = (
        Mlp(device).fit(features, is_target, parts, DECAYS, 0).log_odds(features)
        for device in ("cpu", "cuda")
    )
    assert np.abs(cpu - gpu).max() < 0.1
