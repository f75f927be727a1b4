"""All scores of given features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.workloads.rank.problems import Floats, problem

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank import SCORES, ModelFailed, score_features


def value(features: Floats, labels: Any, probabilities: Floats | None, name: str) -> float:
    scored = score_features(features, labels, probabilities, scores=[name], folds=0)[name].value
    assert scored is not None
    return scored


def test_every_score_has_a_value_an_interval_and_a_cost() -> None:
    own = problem()
    scored = score_features(own.features, own.labels, own.probabilities)
    assert scored.keys() == SCORES.keys()
    for each in scored.values():
        assert each.value is not None
        assert each.half_width is not None
        assert each.half_width > 0
        assert each.seconds > 0
        assert each.reason == ""


@pytest.mark.parametrize("name", SCORES)
def test_every_score_prefers_features_that_tell_the_classes(name: str) -> None:
    own = problem()
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(own.labels)
    good = value(own.features, own.labels, own.probabilities, name)
    assert good > value(own.features, shuffled, own.probabilities, name)


def test_the_interval_of_independent_draws_covers_their_mean() -> None:
    big = problem(rows=20_000)
    truth = value(big.features, big.labels, None, "h_score")
    hits = 0
    for start in range(0, 20_000, 400):
        rows = slice(start, start + 400)
        each = score_features(big.features[rows], big.labels[rows], scores=["h_score"])["h_score"]
        assert each.value is not None
        assert each.half_width is not None
        hits += abs(each.value - truth) <= each.half_width
    assert 40 <= hits <= 50


def test_names_serve_as_labels() -> None:
    own = problem()
    names = np.array(["ant", "bee", "cat", "dog"])[own.labels]
    assert value(own.features, names, None, "gbc") == value(own.features, own.labels, None, "gbc")


def test_a_model_without_a_head_has_reasons_in_place_of_two_scores() -> None:
    own = problem()
    scored = score_features(own.features, own.labels)
    without = {name for name, each in scored.items() if each.value is None}
    assert without == {"leep", "nce"}
    assert "no head" in scored["leep"].reason


def test_a_class_in_one_fold_leaves_the_value_without_its_interval_where_that_matters() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 39 + [1])
    scored = score_features(rng.normal(size=(40, 3)), labels, scores=["gbc"], folds=4)["gbc"]
    assert scored.value is not None
    assert scored.half_width is None
    assert "no interval: without a fold, fewer than two classes" in scored.reason


def test_what_does_not_fit_is_refused() -> None:
    own = problem()
    with pytest.raises(ArgumentError, match="score 'leap' is unknown; choose from"):
        score_features(own.features, own.labels, scores=["leap"])
    with pytest.raises(ArgumentError, match="240 rows of features have 239 labels"):
        score_features(own.features, own.labels[1:])
    with pytest.raises(ModelFailed, match="shape"):
        score_features(own.features[:, :0], own.labels)


def test_targets_of_a_regression_are_no_labels() -> None:
    features = np.random.default_rng(0).normal(size=(40, 3))
    with pytest.raises(ArgumentError, match="labels are fractions; is it a regression"):
        score_features(features, features[:, 0])
    with pytest.raises(ArgumentError, match="labels hold nan in row 3"):
        score_features(features, np.where(np.arange(40) == 3, np.nan, np.arange(40) % 2))
