"""The regression of the paper."""

from __future__ import annotations

import numpy as np
import pytest

from crossdock.bench.dev.toy import SOURCE, ratio, toy


def test_ratio_is_that_of_the_densities() -> None:
    x = SOURCE.rvs(200_000, random_state=0)
    assert ratio(x).mean() == pytest.approx(1, abs=0.02)
    assert (x * ratio(x)).mean() == pytest.approx(2, abs=0.05)
    np.testing.assert_allclose(ratio(np.array([1.0])), 2 * np.exp(-8))


@pytest.mark.parametrize(
    ("power", "target", "iwcv", "dev"),
    [(0.5, 0.073, (0.054, 0.031), (0.053, 0.024)), (0.0, 0.359, (0.330, 0.145), (0.332, 0.133))],
)
def test_figures_of_the_paper(
    power: float, target: float, iwcv: tuple[float, float], dev: tuple[float, float]
) -> None:
    """Mean and deviation; risks of the samples that the line was fitted to."""
    found = toy(power, held_out=False, trials=1000, seed=0)
    assert found.target == pytest.approx(target, rel=0.05)
    assert (found.iwcv, found.iwcv_deviation) == pytest.approx(iwcv, rel=0.15)
    assert (found.dev, found.dev_deviation) == pytest.approx(dev, rel=0.15)


def test_dev_scatters_less_than_iwcv() -> None:
    for power in (0.5, 0.7, 1.0):
        found = toy(power, held_out=False, trials=1000, seed=1)
        assert found.dev_deviation < 0.9 * found.iwcv_deviation, power


def test_on_fresh_samples_both_are_near_the_risk() -> None:
    found = toy(0.5, held_out=True, trials=1000, seed=0)
    assert found.iwcv == pytest.approx(found.target, rel=0.1)
    assert found.dev == pytest.approx(found.target, rel=0.1)
    assert found.dev_deviation < found.iwcv_deviation


def test_a_seed_gives_the_same_again() -> None:
    assert toy(0.5, True, 20, 3) == toy(0.5, True, 20, 3)
    assert toy(0.5, True, 20, 3) != toy(0.5, True, 20, 4)
