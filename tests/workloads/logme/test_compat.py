"""The mode `compat` beside the released fixed point, and what is wrong with that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.workloads.logme.brute_force import Brute
from tests.workloads.logme.published import published

from crossdock.workloads.logme import LogME


@pytest.mark.parametrize("solver", ["gram", "root", "kernel"])
@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_released_fixed_point(seed: int, solver: Any) -> None:
    dice = np.random.default_rng(seed)
    features = dice.normal(size=(120, 17)) * dice.uniform(0.1, 4, 17)
    labels = (features[:, :4] * dice.uniform(0, 2) + dice.normal(size=(120, 4))).argmax(1)
    model = LogME(mode="compat", solver=solver).fit(features, labels)
    expected = published(features, np.eye(4)[labels])
    assert abs(model.score_ - expected.score) < 1e-10
    np.testing.assert_allclose(model.alphas_, expected.alphas, rtol=1e-9)
    np.testing.assert_allclose(model.betas_, expected.betas, rtol=1e-9)
    np.testing.assert_allclose(model.posterior_means_, expected.means, rtol=1e-8, atol=1e-12)


def test_it_is_the_released_fixed_point_for_numbers() -> None:
    dice = np.random.default_rng(9)
    features = dice.normal(size=(70, 30))
    targets = features[:, :5] + dice.normal(size=(70, 5))
    model = LogME(mode="compat", task="regression").fit(features, targets)
    assert abs(model.score_ - published(features, targets).score) < 1e-10


def test_noise_in_more_directions_than_samples() -> None:
    """300 samples of 2048 features of noise, five classes: the released sum gives 25.9.

    All directions counted its eleven rounds come to -0.65; the maximum, -0.61, is that of brute
    force. No model of noise has an evidence above that of no model at all by more than luck.
    """
    dice = np.random.default_rng(0)
    features, labels = dice.normal(size=(300, 2048)), dice.integers(0, 5, 300)
    hot = np.eye(5)[labels]
    assert published(features, hot, drop=True).score == pytest.approx(25.867, abs=1e-3)
    rounds = LogME(mode="compat").fit(features, labels).score_
    assert rounds == pytest.approx(published(features, hot).score, abs=1e-10)
    assert rounds == pytest.approx(-0.6464, abs=1e-4)
    score = LogME().fit(features, labels).score_
    assert score == pytest.approx(-0.6091, abs=1e-4)
    brute = np.mean([Brute(features, column).maximum() for column in hot.T])
    assert abs(score - brute) < 1e-8
