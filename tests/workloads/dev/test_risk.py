"""The risk, its refusals, and sums that merge."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import DevRisk, DevSums, dev_risk

FIGURES = ("risk", "standard_error", "effective_size", "eta", "importance_weighted", "mean_weight")


def sample(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    weights = random.lognormal(-0.3, 0.7, n)
    return weights, (random.normal(size=n) + 0.4 * weights) ** 2


def direct(weights: np.ndarray, losses: np.ndarray) -> float:
    """The formula of the paper, word for word."""
    weighted = weights * losses
    covariance = np.cov(weighted, weights, ddof=1)
    eta = -covariance[0, 1] / covariance[1, 1]
    return float(weighted.mean() + eta * weights.mean() - eta)


def assert_near(one: DevRisk, other: DevRisk, tolerance: float = 1e-9) -> None:
    assert (one.status, one.n) == (other.status, other.n)
    for figure in FIGURES:
        assert getattr(one, figure) == pytest.approx(getattr(other, figure), rel=tolerance), figure


def test_risk_is_the_formula_of_the_paper() -> None:
    for seed in range(20):
        weights, losses = sample(seed, 40)
        found = dev_risk(weights, losses)
        assert found.status == "ok"
        assert found.risk == pytest.approx(direct(weights, losses), rel=1e-12)
        assert found.importance_weighted == pytest.approx((weights * losses).mean(), rel=1e-12)
        assert found.effective_size == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_it_is_the_line_of_least_squares_at_one() -> None:
    weights, losses = sample(3, 60)
    design = np.column_stack([np.ones(60), weights - 1])
    weighted = weights * losses
    solution, *_ = np.linalg.lstsq(design, weighted, rcond=None)
    left = weighted - design @ solution
    covariance = left @ left / 58 * np.linalg.inv(design.T @ design)
    found = dev_risk(weights, losses)
    assert found.risk == pytest.approx(solution[0], rel=1e-12)
    assert found.eta == pytest.approx(-solution[1], rel=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-12)


def test_known_weights_give_the_target_risk_with_less_scatter_than_their_mean() -> None:
    """Source N(0, 1), target N(1/2, 1), loss x^2: the target risk is 1.25."""
    random = np.random.default_rng(0)
    dev, plain, errors = [], [], []
    for _ in range(400):
        x = random.normal(size=500)
        found = dev_risk(np.exp(x / 2 - 1 / 8), x**2)
        dev.append(found.risk)
        plain.append(found.importance_weighted)
        errors.append(found.standard_error)
    assert np.mean(dev) == pytest.approx(1.25, abs=0.03)
    assert np.std(dev) < 0.7 * np.std(plain)
    # The weighted losses scatter more where weights are large, which least squares ignores.
    assert 0.6 < np.mean(errors) / np.std(dev) < 1.1


def test_a_loss_without_scatter_has_no_error() -> None:
    weights, _ = sample(0, 50)
    found = dev_risk(weights, np.full(50, 2.5))
    assert found.risk == pytest.approx(2.5)
    assert found.standard_error == pytest.approx(0, abs=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    shards=st.sampled_from([1, 2, 7, 64]),
    n=st.integers(64, 300),
    shift=st.floats(-1e3, 1e3),
)
def test_shards_have_the_risk_of_all(seed: int, shards: int, n: int, shift: float) -> None:
    weights, losses = sample(seed, n)
    losses = losses + shift
    random = np.random.default_rng(seed)
    parts = np.array_split(random.permutation(n), shards)
    merged = DevSums()
    for i in random.permutation(shards):
        merged = merged.merge(DevSums.of(weights[parts[i]], losses[parts[i]]))
    whole = DevSums.of(weights, losses)
    scale = np.abs(weights * losses).max()
    assert merged.n == whole.n
    for field in ("mean_w", "mean_l", "m_ww", "m_wl", "m_ll"):
        size = scale ** {"mean_w": 0, "m_ww": 0, "mean_l": 1, "m_wl": 1, "m_ll": 2}[field] * n
        assert getattr(merged, field) == pytest.approx(getattr(whole, field), abs=1e-12 * size)
    assert merged.risk().risk == pytest.approx(whole.risk().risk, rel=1e-9, abs=1e-9)


def test_empty_shards_change_nothing() -> None:
    weights, losses = sample(1, 50)
    sums = DevSums.of(weights, losses)
    empty = DevSums.of([], [])
    assert_near(empty.merge(sums).merge(empty).risk(), sums.risk(), 1e-15)
    assert empty.merge(empty) == DevSums()


def test_nearly_constant_weights_keep_their_digits() -> None:
    random = np.random.default_rng(0)
    weights, losses = 1 + 1e-5 * random.normal(size=200), random.normal(size=200) + 1e3
    found = dev_risk(weights, losses)
    assert found.risk == pytest.approx(direct(weights, losses), rel=1e-9)


@pytest.mark.parametrize(
    ("weights", "losses", "reason"),
    [
        ([1.0] * 30, range(30), "constant weights .all 1.: the discriminator"),
        ([0.0] * 30, range(30), "constant weights .all 0."),
        ([0.1 + 1e-9 * i for i in range(30)], range(30), "constant weights .all 0.1."),
        ([1e6] + [1e-6 * i for i in range(29)], range(30), "effective sample size 1 of 30 is bel"),
        ([0.02 + 0.001 * i for i in range(30)], range(30), "mean weight 0.0345 is more than 3 dev"),
        ([math.nan, *range(29)], range(30), "1 of 30 samples have a weight or loss that is not"),
        ([*range(29), math.inf], range(30), "1 of 30 samples have a weight or loss that is not"),
        (range(30), [math.nan] * 30, "30 of 30 samples have a weight or loss that is not"),
        (range(30), [1e200] * 30, "29 of 30 samples .* beyond 1e.140"),
        ([-1.0, *range(29)], range(30), "1 of 30 weights are negative"),
        ([1.0, 2.0], [1.0, 1.0], "2 samples, but 3 are the least"),
        ([], [], "0 samples"),
    ],
)
def test_what_tells_no_risk_is_refused(
    weights: list[float], losses: list[float], reason: str
) -> None:
    found = dev_risk(list(weights), list(losses))
    assert found.status == "refused"
    assert math.isnan(found.risk)
    assert math.isnan(found.standard_error)
    assert re.search(reason, found.reason)


def test_one_bad_shard_refuses_the_whole() -> None:
    good = DevSums.of(*sample(0, 50))
    bad = DevSums.of([1.0, math.nan, -1.0], [1.0, 1.0, 1.0])
    found = good.merge(bad).merge(good).risk()
    assert found.reason.startswith("1 of 103 samples have a weight or loss that is not finite")


def test_negative_weights_of_any_shard_refuse_the_whole() -> None:
    good, bad = DevSums.of(*sample(0, 50)), DevSums.of([-1.0, 1.0], [1.0, 1.0])
    for merged in (good.merge(bad), bad.merge(good)):
        assert merged.risk().reason.startswith("1 of 52 weights are negative")


def test_the_least_effective_size_is_an_option() -> None:
    weights, losses = sample(0, 50)
    effective = dev_risk(weights, losses).effective_size
    assert dev_risk(weights, losses, effective_min=effective - 0.1).status == "ok"
    assert dev_risk(weights, losses, effective_min=effective + 0.1).status == "refused"


@pytest.mark.parametrize(
    ("weights", "losses", "message"),
    [
        ([1.0, 2.0], [1.0], "2 weights but 1 losses"),
        ([[1.0, 2.0]], [1.0, 2.0], r"weights have shape \(1, 2\)"),
        # (n, 1) times (n,) would be n x n.
        ([1.0, 2.0], [[1.0], [2.0]], r"losses have shape \(2, 1\)"),
    ],
)
def test_what_is_no_pair_of_vectors_is_an_error(
    weights: object, losses: object, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        dev_risk(weights, losses)  # type: ignore[arg-type]
