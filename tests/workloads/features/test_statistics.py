"""Sums over samples: what they are, that they add up, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError, MismatchError
from crossdock.workloads.features import (
    EmptyClass,
    NotFinite,
    Statistics,
    WrongShape,
    blocks,
    roots,
)

DICE = np.random.default_rng(5)
F = DICE.normal(size=(60, 7)).astype(np.float32)
Y = DICE.integers(0, 4, 60)
HOT = np.eye(4)[Y]
F64 = F.astype(np.float64)


def close(found: Any, expected: Any) -> None:
    assert (found is None) == (expected is None)
    if found is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def same(a: Statistics, b: Statistics) -> None:
    ours, theirs = a.to_arrays(), b.to_arrays()
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"first"}:
        if ours[name].dtype.kind == "f":
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-12)
        else:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_sums_of_classes_are_what_they_say() -> None:
    found = Statistics.of(F, Y, moments="full")
    assert found.count == 60
    np.testing.assert_allclose(found.gram, F64.T @ F64)
    np.testing.assert_allclose(found.cross, F64.T @ HOT)
    np.testing.assert_allclose(found.squares, np.bincount(Y))
    np.testing.assert_allclose(found.target_sums, HOT.sum(0))
    np.testing.assert_allclose(found.sums, F64.sum(0))
    of_class = np.stack([F64[c == Y].T @ F64[c == Y] for c in range(4)])
    close(found.moments, of_class)
    diagonal = Statistics.of(F, Y, moments="diagonal").moments
    close(diagonal, np.einsum("cdd->cd", of_class))
    assert Statistics.of(F, Y).moments is None


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_sums_of_columns_are_what_they_say(task: Any) -> None:
    targets = HOT if task == "multilabel" else DICE.normal(size=(60, 3))
    found = Statistics.of(F, targets, task)
    np.testing.assert_allclose(found.cross, F64.T @ targets)
    np.testing.assert_allclose(found.squares, (targets**2).sum(0))
    np.testing.assert_allclose(found.low, targets.min(0))
    np.testing.assert_allclose(found.high, targets.max(0))


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 59), unique=True, max_size=20),
    seed=st.integers(0, 1000),
    moments=st.sampled_from(["none", "diagonal", "full"]),
)
def test_any_shards_in_any_order_add_up(cuts: list[int], seed: int, moments: Any) -> None:
    order = np.random.default_rng(seed).permutation(60)
    shards = [Statistics.of(F[i], Y[i], moments=moments) for i in np.split(order, sorted(cuts))]
    same(Statistics.total(shards), Statistics.of(F, Y, moments=moments))


def test_classes_of_shards_are_joined() -> None:
    names = np.array(["ant", "bee", "cat", "dog"])[Y]
    order = np.argsort(Y)
    shards = [Statistics.of(F[i], names[i], moments="full") for i in np.array_split(order, 9)]
    assert len(shards[0].classes) < 4
    same(Statistics.total(shards), Statistics.of(F, names, moments="full"))
    assert Statistics.total(shards[:2]).high.tolist() == [1.0]
    joined = shards[0].merge(shards[-1])
    assert (joined.low.tolist(), joined.high.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Statistics.of(F, Y, moments="full")
    monkeypatch.setattr(blocks, "rows_of", lambda features: 8)
    same(Statistics.of(F, Y, moments="full"), whole)


def test_tensors_are_taken() -> None:
    whole = Statistics.of(F, Y, moments="full")
    same(Statistics.of(torch.from_numpy(F), torch.from_numpy(Y), moments="full"), whole)
    half = torch.from_numpy(F).to(torch.bfloat16)
    np.testing.assert_allclose(Statistics.of(half, Y).sums, half.double().sum(0), rtol=1e-12)


@pytest.mark.parametrize("moments", ["none", "diagonal", "full"])
def test_sums_on_a_device_are_those_of_numpy(moments: Any) -> None:
    from crossdock.workloads.features import inputs

    targets = inputs.targets_of(Y, "classification")
    there = blocks._on_device(torch.from_numpy(F), targets, moments, 0)
    here = blocks.summed(F, targets, moments, 0)
    for ours, theirs in zip(there, here, strict=True):
        close(ours, theirs)


def test_a_root_on_a_device_is_that_of_numpy() -> None:
    there, here = roots.of(torch.from_numpy(F), HOT), roots.of(F, HOT)
    np.testing.assert_allclose(there.T @ there, here.T @ here, rtol=1e-12, atol=1e-12)
    both = np.hstack([F64, HOT])
    np.testing.assert_allclose(here.T @ here, both.T @ both, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_tensors_on_a_gpu_are_summed_there() -> None:
    same(
        Statistics.of(torch.from_numpy(F).cuda(), torch.from_numpy(Y).cuda(), moments="full"),
        Statistics.of(F, Y, moments="full"),
    )


def test_they_are_saved_and_read(tmp_path: Any) -> None:
    for moments in ("none", "diagonal"):
        found = Statistics.of(F, Y, moments=moments)
        np.savez(tmp_path / "sums.npz", **found.to_arrays())  # type: ignore[arg-type]
        with np.load(tmp_path / "sums.npz") as arrays:
            same(Statistics.from_arrays(arrays), found)
    parts = found.to_arrays()
    del parts["gram"]
    with pytest.raises(ArgumentError, match="gram missing"):
        Statistics.from_arrays(parts)


def test_whether_features_vary_is_known_across_shards() -> None:
    same_rows = np.ones((4, 3))
    assert not Statistics.of(same_rows, [0, 1, 0, 1]).varies
    other = Statistics.of(2 * same_rows, [0, 1, 0, 1])
    assert not other.varies
    assert other.merge(Statistics.of(same_rows, [0, 1, 0, 1])).varies
    assert Statistics.of(np.diag([1.0, 0, 0])[[1, 1, 0]], [0, 1, 0]).varies


def with_value(value: float) -> Any:
    features = F.copy()
    features[41, 3] = value
    return features


@pytest.mark.parametrize(
    ("features", "labels", "options", "error", "message"),
    [
        (with_value(np.nan), Y, {}, NotFinite, "nan in row 41, column 3, and 1 such"),
        (with_value(-np.inf), Y, {}, NotFinite, "-inf in row 41"),
        (F, np.where(Y == 1, np.nan, Y), {}, NotFinite, "labels hold nan"),
        (F, F, {"task": "regression"}, None, ""),
        (F, with_value(np.nan), {"task": "regression"}, NotFinite, "targets hold nan in row 41"),
        (F[0], Y, {}, WrongShape, r"shape \(7,\)"),
        (F[:0], Y[:0], {}, WrongShape, r"shape \(0, 7\)"),
        (F[:, :0], Y, {}, WrongShape, r"shape \(60, 0\)"),
        (F, Y[1:], {}, WrongShape, "60 rows of features have 59 labels"),
        (F, HOT, {}, WrongShape, r"labels have shape \(60, 4\)"),
        (F.astype(complex), Y, {}, WrongShape, "complex"),
        (F.astype(str), Y, {}, WrongShape, "give real numbers"),
        (torch.from_numpy(F).to(torch.complex64), Y, {}, WrongShape, "complex"),
        (F, [None] * 60, {}, WrongShape, "labels are of type object"),
        (F, Y + 0.5, {}, ArgumentError, "fractions"),
        (F, Y, {"classes": [0, 1, 2]}, EmptyClass, "label .*3.*not among"),
        (F, F, {"task": "multilabel"}, ArgumentError, "other than 0 and 1"),
        (F, Y, {"task": "multilabel"}, WrongShape, r"shape \(60,\)"),
        (F, F, {"task": "regression", "moments": "full"}, ArgumentError, "has no classes"),
        (F, F, {"task": "regression", "classes": [1]}, ArgumentError, "need no names"),
        (F, Y, {"task": "ranking"}, ArgumentError, "task is 'ranking'"),
        (F, Y, {"moments": "some"}, ArgumentError, "moments is 'some'"),
    ],
)
def test_refusals(features: Any, labels: Any, options: Any, error: Any, message: str) -> None:
    if error is None:
        Statistics.of(features, labels, **options)
        return
    with pytest.raises(error, match=message):
        Statistics.of(features, labels, **options)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Statistics.of(F[:, 1:], Y), "number of features .* 7 and 6"),
        (Statistics.of(F, Y, moments="full"), "moments"),
        (Statistics.of(F, Y[:, None], "regression"), "task"),
        (Statistics.of(F, Y.astype(str)), "names and numbers"),
    ],
)
def test_statistics_of_other_kinds_are_not_merged(other: Statistics, message: str) -> None:
    for one, two in ((Statistics.of(F, Y), other), (other, Statistics.of(F, Y))):
        with pytest.raises(MismatchError):
            one.merge(two)
    with pytest.raises(MismatchError, match=message):
        Statistics.of(F, Y).merge(other)


def test_nothing_is_no_total() -> None:
    with pytest.raises(ArgumentError, match="no statistics"):
        Statistics.total([])
