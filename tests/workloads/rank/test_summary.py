"""Summaries: how they add up, what they hold, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.rank.problems import Problem, problem, problems

from crossdock.proxy.errors import MismatchError
from crossdock.workloads.features import DataRefused
from crossdock.workloads.rank import ModelFailed, Summary, merge, summarise


def parts(own: Problem, shards: int, seed: int) -> list[Summary]:
    """Of rows that are shuffled, then cut."""
    rows = np.random.default_rng(seed).permutation(len(own.labels))
    return [
        summarise(
            own.features[some],
            own.labels[some],
            classes=own.classes,
            probabilities=own.probabilities[some],
            numbers=some,
        )
        for some in np.array_split(rows, shards)
    ]


@settings(max_examples=20, deadline=None)
@given(problems, st.sampled_from([1, 2, 7, 50]), st.integers(0, 99))
def test_shards_in_any_order_make_the_whole(own: Problem, shards: int, seed: int) -> None:
    whole = summarise(own.features, own.labels, **own.given).arrays()
    merged = merge(parts(own, shards, seed)).arrays()
    assert merged.keys() == whole.keys()
    for name in whole.keys() - {"statistics.first", "statistics.task"}:
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-11, atol=1e-9)
    np.testing.assert_array_equal(merged["features"], own.features)


def test_arrays_bring_it_back() -> None:
    own = problem()
    summary = summarise(own.features, own.labels, classes=own.classes, by_class=False)
    arrays = {"other": np.zeros(1), **summary.arrays("fold 3/")}
    again = Summary.of(arrays, "fold 3/")
    assert again.votes is None
    assert again.statistics.moments is None
    np.testing.assert_array_equal(again.features, summary.features)
    np.testing.assert_array_equal(again.statistics.gram, summary.statistics.gram)


def test_summaries_of_different_models_are_refused() -> None:
    own = problem()
    one = summarise(own.features, own.labels, **own.given)
    headless = summarise(own.features, own.labels, classes=own.classes)
    narrow = summarise(own.features[:, 1:], own.labels, **own.given)
    with pytest.raises(MismatchError, match="head"):
        merge([one, headless])
    with pytest.raises(MismatchError, match="number of features"):
        merge([one, narrow])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": np.nan}, r"features hold nan in row 103, column 1"),
        ({"features": np.inf}, r"features hold inf in row 103, column 1"),
        ({"probabilities": -0.5}, r"probabilities of row 103 sum to"),
        ({"source_labels": 9}, r"row 103 has source label 9, but the head has labels 0 to 4"),
    ],
)
def test_what_cannot_be_scored_is_named(changed: dict[str, Any], message: str) -> None:
    own = problem()
    given: dict[str, Any] = {
        "features": own.features.copy(),
        "probabilities": own.probabilities.copy(),
        "source_labels": own.probabilities.argmax(1),
    }
    for name, value in changed.items():
        given[name][(3, 1) if given[name].ndim == 2 else 3] = value
    if "source_labels" in changed:
        del given["probabilities"]
        given["source_classes"] = 5
    numbers = np.arange(len(own.labels)) + 100
    with pytest.raises(ModelFailed, match=message):
        summarise(labels=own.labels, classes=own.classes, numbers=numbers, **given)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_refused(label: int) -> None:
    own = problem()
    labels = own.labels.copy()
    labels[5] = label
    with pytest.raises(DataRefused, match=f"label .*{label}"):
        summarise(own.features, labels, classes=own.classes)
