"""DEV as an estimator."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import DEV, DevSums, Mlp

SHIFT = 0.8


def case(seed: int = 0, n: int = 1000) -> dict[str, np.ndarray]:
    """Source N(0, 1), target N(0.8, 1) in two dimensions; the loss is x_0^2."""
    random = np.random.default_rng(seed)
    source, target, held = (random.normal(size=(n, 2)) for _ in range(3))
    target[:, 0] += SHIFT
    return {"source": source, "target": target, "held": held, "losses": held[:, 0] ** 2}


@pytest.mark.parametrize("discriminator", ["logistic", "mlp"])
def test_the_risk_of_the_target_is_found_from_the_source(discriminator: str) -> None:
    given = case()
    dev = DEV(discriminator, folds=3).fit(given["source"], given["target"])
    found = dev.risk(given["held"], given["losses"])
    right, source = 1 + SHIFT**2, given["losses"].mean()
    assert found.status == "ok"
    assert abs(found.risk - right) < 0.5 * abs(source - right)
    assert 0.5 < dev.accuracies_[0] < 0.8
    assert dev.decays_[0] in dev.decays
    assert dev.collapsed_ == 0


def test_it_keeps_scikit_learns_conventions() -> None:
    dev = DEV("mlp", folds=3, seeds=(4, 5), clip=2.0)
    assert clone(dev).get_params() == dev.get_params()
    with pytest.raises(NotFittedError):
        dev.weights(case()["held"])
    given = case(n=60)
    fitted = DEV(folds=2).fit(given["source"], given["target"])
    assert fitted.n_features_in_ == 2
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301  # our own
    np.testing.assert_array_equal(again.weights(given["held"]), fitted.weights(given["held"]))


@pytest.mark.parametrize("shards", [1, 2, 7, 64])
def test_shards_have_the_risk_of_all(shards: int) -> None:
    given = case(n=500)
    dev = DEV(folds=2).fit(given["source"], given["target"])
    merged = DevSums()
    for rows in np.array_split(np.random.default_rng(0).permutation(500), shards):
        merged = merged.merge(dev.sums(given["held"][rows], given["losses"][rows]))
    whole = dev.risk(given["held"], given["losses"])
    assert merged.risk().risk == pytest.approx(whole.risk, rel=1e-9)
    assert merged.risk().standard_error == pytest.approx(whole.standard_error, rel=1e-9)


def test_seeds_are_averaged_and_shown_apart() -> None:
    given = case(n=300)
    method = Mlp(hidden=4, epochs=10)
    both = DEV(method, folds=2, seeds=(1, 2)).fit(given["source"], given["target"])
    one, two = (
        DEV(method, folds=2, seeds=(seed,)).fit(given["source"], given["target"]) for seed in (1, 2)
    )
    held, losses = given["held"], given["losses"]
    np.testing.assert_allclose(both.weights(held), (one.weights(held) + two.weights(held)) / 2)
    apart = [one.risk(held, losses).risk, two.risk(held, losses).risk]
    assert [found.risk for found in both.risks(held, losses)] == pytest.approx(apart)
    assert apart[0] != apart[1]


def test_weights_are_clipped_only_when_asked() -> None:
    given = case()
    dev = DEV(folds=2).fit(given["source"], given["target"])
    assert dev.weights(given["held"]).max() > 3
    dev.set_params(clip=1.5)
    assert dev.weights(given["held"]).max() == 1.5


def test_features_that_say_nothing_collapse_and_are_refused() -> None:
    constant = np.ones((50, 3))
    for discriminator in ("logistic", "mlp"):
        dev = DEV(discriminator, folds=2).fit(constant, constant)
        found = dev.risk(constant, np.arange(50.0))
        assert (found.status, dev.decays_, dev.collapsed_) == ("refused", [None], 1.0)
        assert found.reason == "all 10 discriminators have collapsed to a constant"
        assert math.isnan(found.risk)


def test_domains_that_do_not_overlap_are_refused() -> None:
    given = case()
    for discriminator in ("logistic", "mlp"):
        dev = DEV(discriminator, folds=2).fit(given["source"], given["target"] + 50)
        found = dev.risk(given["held"], given["losses"])
        assert found.status == "refused"
        assert "the domains hardly overlap" in found.reason


def test_a_loss_that_is_not_finite_is_refused() -> None:
    given = case(n=60)
    given["losses"][3] = np.nan
    dev = DEV(folds=2).fit(given["source"], given["target"])
    assert "1 of 60 samples" in dev.risk(given["held"], given["losses"]).reason


def fit(**settings: Any) -> DEV:
    given = case(n=20)
    source, target = settings.pop("source", given["source"]), settings.pop("target", None)
    return DEV(**settings).fit(source, given["target"] if target is None else target)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discriminator": "tree"}, "'tree'; choose from logistic, mlp"),
        ({"decays": ()}, "decays are"),
        ({"decays": (0.1, 0.0)}, "all above 0"),
        ({"folds": 1}, "folds are 1, but 2"),
        ({"folds": 21}, "20 source and 20 target samples are too few for 21 folds"),
        ({"seeds": ()}, "seeds are empty"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"source": np.ones(20)}, r"source has shape \(20,\)"),
        ({"source": np.ones((20, 0))}, r"source has shape \(20, 0\)"),
        ({"source": np.ones((20, 3))}, "target has 2 features but the source has 3"),
        ({"source": np.full((20, 2), np.nan)}, "source has 20 of 20 rows .* the first is 0"),
        ({"target": np.array([[0.0, 1.0]] * 9 + [[0.0, np.inf]])}, "target has 1 of 10 .* is 9"),
    ],
)
def test_what_cannot_be_fitted_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        fit(**settings)


def test_features_of_another_model_are_an_error() -> None:
    with pytest.raises(ArgumentError, match="features has 3 features but the source has 2"):
        fit().risk(np.ones((4, 3)), np.ones(4))
