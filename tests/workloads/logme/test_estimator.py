"""The estimator: shards, blocks, tensors, intervals, and what it refuses."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from crossdock.proxy.errors import ArgumentError, MismatchError
from crossdock.workloads.features import (
    EmptyClass,
    NotFinite,
    OneClass,
    Statistics,
    TooFewSamples,
    WrongShape,
    ZeroVariance,
)
from crossdock.workloads.logme import IllConditioned, Kernel, LogME, NoInterval, kernels

DICE = np.random.default_rng(12)
F = DICE.normal(size=(320, 24)).astype(np.float32)
Y = (F[:, :5] + DICE.normal(size=(320, 5))).argmax(1)
BAD = F.copy()
BAD[17, 4] = np.nan
WIDE = DICE.normal(size=(50, 300))
WIDE_Y = (WIDE[:, :3] + DICE.normal(size=(50, 3))).argmax(1)


def alike(one: LogME, other: LogME, tolerance: float = 1e-9) -> None:
    for name in ("score_", "evidences_", "alphas_", "betas_", "posterior_means_"):
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(one.classes_, other.classes_)


@pytest.mark.parametrize("solver", ["gram", "root"])
@pytest.mark.parametrize("shards", [1, 2, 7, 64])
@pytest.mark.parametrize("mode", ["correct", "compat"])
def test_shards_change_nothing(mode: Any, shards: int, solver: Any) -> None:
    order = np.random.default_rng(shards).permutation(len(F))
    parts = np.array_split(order, shards)
    whole = LogME(mode=mode).fit(F, Y)
    batches = LogME(mode=mode, solver=solver)
    for part in parts:
        batches.partial_fit(F[part], Y[part])
    alike(batches, whole)
    apart = [LogME(mode=mode, solver=solver).partial_fit(F[part], Y[part]) for part in parts]
    for other in apart[1:]:
        apart[0].merge(other)
    alike(apart[0], whole)
    root = solver == "root"
    sums = [Statistics.of(F[part], Y[part], root=root) for part in parts]
    alike(LogME(mode=mode).fit_statistics(sums), whole)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
@pytest.mark.parametrize("solver", ["gram", "root", "kernel"])
def test_columns_are_scored_one_by_one(task: Any, solver: Any) -> None:
    targets = F[:, :3] + DICE.normal(size=(320, 3))
    if task == "multilabel":
        targets = (targets > 0).astype(int)
    model = LogME(task=task, solver=solver).fit(F, targets)
    alone = [LogME(task="regression").fit(F, targets[:, i]) for i in range(3)]
    np.testing.assert_allclose(model.evidences_, [one.score_ for one in alone], rtol=1e-9)
    assert model.score_ == pytest.approx(np.mean(model.evidences_))
    assert model.posterior_means_.shape == (3, 24)


def test_one_hot_columns_are_classes() -> None:
    hot = np.eye(5)[Y]
    alike(LogME(task="multilabel").fit(F, hot), LogME().fit(F, Y))


def test_wide_features_come_in_blocks() -> None:
    whole = LogME().fit(WIDE, WIDE_Y)
    assert whole.solver_ == "kernel"
    for solver in ("gram", "root"):
        alike(LogME(solver=solver).fit(WIDE, WIDE_Y), whole, 1e-8)
    blocks = np.split(WIDE, (10, 140, 141), axis=1)
    alike(LogME().fit_blocks(blocks, WIDE_Y), whole)
    alike(LogME().fit_blocks([torch.from_numpy(block) for block in blocks], WIDE_Y), whole)
    kernel = Kernel.total(Kernel.of(block) for block in reversed(blocks))
    summed = LogME().fit_kernel(kernel, WIDE_Y)
    assert summed.score_ == pytest.approx(whole.score_, abs=1e-12)
    assert not hasattr(summed, "posterior_means_")
    assert not hasattr(LogME().fit(F, Y), "dual_")
    np.testing.assert_allclose((WIDE.T @ summed.dual_).T, whole.posterior_means_, rtol=1e-9)
    assert summed.n_features_in_ == 300
    bias = [np.ones((50, 1)), WIDE]
    alike(LogME().fit_blocks(bias, WIDE_Y), LogME().fit(np.hstack(bias), WIDE_Y))


def nearly_dependent(exponent: float) -> Any:
    """Features of which one is another but for 10^-exponent, and labels that are in that."""
    dice = np.random.default_rng(1)
    features = dice.normal(size=(200, 6))
    hidden = dice.normal(size=200)
    features[:, 5] = features[:, 0] + 10**-exponent * hidden
    return features, hidden + 0.1 * dice.normal(size=200)


def test_a_root_sees_what_squares_lose() -> None:
    features, labels = nearly_dependent(9)
    model = LogME(task="regression").fit(features, labels)
    assert model.solver_ == "root"
    assert model.rank_ == 6
    assert model.score_ > 0, "labels are seen through a difference of 1e-9"
    with pytest.warns(IllConditioned, match="solver='root'"):
        blind = LogME(task="regression", solver="gram").fit(features, labels)
    assert blind.rank_ == 5
    assert blind.score_ < model.score_ - 1
    shards = LogME(task="regression", solver="root")
    for part in np.array_split(np.random.default_rng(0).permutation(200), 7):
        shards.partial_fit(features[part], labels[part])
    assert shards.score_ == pytest.approx(model.score_, abs=1e-6)


def test_the_root_is_taken_only_where_it_is_needed() -> None:
    assert LogME().fit(F, Y).solver_ == "gram"
    dead = F * (np.arange(24) % 3 > 0)
    assert LogME().fit(dead, Y).solver_ == "gram"
    summed = F.copy()
    summed[:, 0] = F[:, 1] + F[:, 2]
    assert LogME().fit(summed, Y).solver_ == "root"
    assert LogME(task="regression").fit(*nearly_dependent(6)).solver_ == "root"
    assert LogME(task="regression").fit(*nearly_dependent(4)).solver_ == "gram"
    assert LogME().fit(np.vstack([WIDE, WIDE]), np.r_[WIDE_Y, WIDE_Y]).solver_ == "root"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LogME().fit(summed, Y)
        LogME(solver="gram").fit(F, Y)


def test_tensors_and_other_floats_are_taken() -> None:
    whole = LogME().fit(F, Y)
    alike(LogME().fit(torch.from_numpy(F), torch.from_numpy(Y)), whole, 0)
    half = torch.from_numpy(F).half()
    alike(LogME().fit(half, Y), LogME().fit(half.double().numpy(), Y), 0)
    if torch.cuda.is_available():
        for solver in ("gram", "root", "kernel"):
            there = LogME(solver=solver).fit(torch.from_numpy(F).cuda(), torch.from_numpy(Y).cuda())
            alike(there, whole)


def test_kernels_on_a_device_are_those_of_numpy() -> None:
    there = kernels._of_block(torch.from_numpy(WIDE), 0)
    here = Kernel.of(WIDE)
    np.testing.assert_allclose(there.matrix, here.matrix, rtol=1e-12)
    assert (there.dimension, there.varies) == (300, True)
    dual = DICE.normal(size=(50, 3))
    weights = kernels._weights_on_device(torch.from_numpy(WIDE), dual)
    np.testing.assert_allclose(weights, kernels.weights(WIDE, dual), rtol=1e-12, atol=1e-12)
    with pytest.raises(NotFinite, match="nan in row 17, column 104"):
        kernels._of_block(torch.from_numpy(BAD), 100)


def test_it_is_an_estimator() -> None:
    model = LogME(mode="compat", jackknife=3)
    assert model.get_params() == {
        "mode": "compat",
        "task": "classification",
        "solver": "auto",
        "classes": None,
        "jackknife": 3,
        "confidence": 0.95,
    }
    assert clone(model).set_params(mode="correct").mode == "correct"
    with pytest.raises(NotFittedError):
        model.score_  # noqa: B018
    assert model.fit(F, Y) is model
    assert (model.n_samples_, model.n_features_in_, model.rank_) == (320, 24, 24)
    names = np.array(list("abcde"))[Y]
    assert LogME().fit(F, names).classes_.tolist() == list("abcde")
    again = LogME().fit(F[:100], Y[:100]).fit(F, Y)
    alike(again, LogME().fit(F, Y), 0)
    assert again.interval_ is None


def scores_without(shards: Any) -> Any:
    kept = [np.setdiff1d(np.arange(len(F)), shard) for shard in shards]
    return np.array([LogME().fit(F[rows], Y[rows]).score_ for rows in kept])


def test_the_interval_of_equal_shards_is_that_of_the_usual_jackknife() -> None:
    model = LogME(jackknife=8).fit(F, Y)
    without = scores_without([np.arange(i, 320, 8) for i in range(8)])
    error = np.sqrt(7 / 8 * np.sum((without - np.mean(without)) ** 2))
    low, high = model.interval_ or (0, 0)
    assert low < model.score_ < high
    assert (low + high) / 2 == pytest.approx(model.score_)
    assert (high - low) / 2 == pytest.approx(2.364624 * error, rel=1e-6)
    narrow = LogME(jackknife=8, confidence=0.5).fit(F, Y).interval_ or (0, 0)
    assert narrow[1] - narrow[0] < (high - low) / 2


def test_the_interval_of_unequal_shards_weighs_them() -> None:
    """By the formula of Busing et al. in another form."""
    cuts = [40, 60, 200]
    shards = np.split(np.arange(320), cuts)
    model = LogME(jackknife=4)
    for shard in shards:
        model.partial_fit(F[shard], Y[shard])
    without = scores_without(shards)
    h = 320 / np.array([40, 20, 140, 120])
    pseudo = h * model.score_ - (h - 1) * without
    centre = 4 * model.score_ - np.sum((h - 1) / h * without)
    error = np.sqrt(np.sum((pseudo - centre) ** 2 / (h - 1)) / 4)
    low, high = model.interval_ or (0, 0)
    assert (high - low) / 2 == pytest.approx(3.182446 * error, rel=1e-6)
    summed = LogME(jackknife=4).fit_statistics([Statistics.of(F[s], Y[s]) for s in shards])
    np.testing.assert_allclose(summed.interval_, model.interval_)  # type: ignore[arg-type]


def test_intervals_of_wide_features_are_those_of_sums() -> None:
    kernel = LogME(jackknife=5).fit(WIDE, WIDE_Y)
    sums = LogME(jackknife=5, solver="root").fit(WIDE, WIDE_Y)
    np.testing.assert_allclose(kernel.interval_, sums.interval_, rtol=1e-7)  # type: ignore[arg-type]


def test_intervals_cover_the_scores_of_other_samples() -> None:
    """Nine in ten or so: what an interval of 95 % is for."""
    dice = np.random.default_rng(3)
    limits, scores = [], []
    for _ in range(60):
        features = dice.normal(size=(200, 5))
        labels = (features[:, 0] + dice.normal(size=200) > 0).astype(int)
        model = LogME(jackknife=20).fit(features, labels)
        limits.append(model.interval_ or (0, 0))
        scores.append(model.score_)
    middle = np.mean(scores)
    hits = sum(bool(low < middle < high) for low, high in limits)
    assert 52 <= hits <= 60


def test_without_an_interval_the_reason_is_told() -> None:
    rare = np.where(np.arange(320) == 7, 5, Y)
    model = LogME(jackknife=4).fit(F, rare)
    with pytest.warns(NoInterval, match=r"no sample has the label 5"):
        assert np.isnan(model.interval_).all()  # type: ignore[arg-type]
    alone = LogME(jackknife=3)
    for rows, labels in ((F[:160], Y[:160]), (F[160:], Y[160:]), (F[:9], np.full(9, 7))):
        alone.partial_fit(rows, labels)
    with pytest.warns(NoInterval, match=r"no sample has the label 7"):
        assert np.isnan(alone.interval_).all()  # type: ignore[arg-type]
    model = LogME(jackknife=4).partial_fit(F, Y)
    with pytest.warns(NoInterval, match="1 shard"):
        assert np.isnan(model.interval_).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("features", "labels", "options", "error", "message"),
    [
        (BAD, Y, {}, NotFinite, "nan in row 17, column 4"),
        (np.hstack([WIDE, [[np.inf]] * 50]), WIDE_Y, {}, NotFinite, "inf in row 0, column 300"),
        (1e-200 * F.astype(float), Y, {}, NotFinite, "scale the features"),
        (F, Y, {"classes": range(7)}, EmptyClass, "no sample has the label 5, 6, 2 such of 7"),
        (F, Y, {"classes": range(3)}, EmptyClass, "not among the classes"),
        (F, 0 * Y, {}, OneClass, "all 320 samples have the label 0"),
        (WIDE, 0 * WIDE_Y, {}, OneClass, "all 50 samples"),
        (np.ones_like(F), Y, {}, ZeroVariance, "same features"),
        (np.ones_like(WIDE), WIDE_Y, {}, ZeroVariance, "same features"),
        (F, 0.3 + 0 * F, {"task": "regression"}, ZeroVariance, "column 0 .* is 0.3.* 24 of 24"),
        (F, np.c_[Y > 1, Y < 9], {"task": "multilabel"}, ZeroVariance, "column 1"),
        (F[:1], Y[:1], {}, TooFewSamples, "1 sample"),
        (F, Y[:-1], {}, WrongShape, "320 rows of features have 319"),
        (F[None], Y, {}, WrongShape, "shape"),
        (F, Y, {"jackknife": 1}, ArgumentError, "jackknife is 1"),
        (F, Y, {"jackknife": 400}, TooFewSamples, "320 samples do not fill 400 shards"),
        (F, Y, {"confidence": 1.0}, ArgumentError, "confidence is 1"),
        (F, Y, {"mode": "quick"}, ArgumentError, "mode is 'quick'.*correct, compat"),
        (F, Y, {"solver": "svd"}, ArgumentError, "solver is 'svd'"),
        (F, Y, {"task": "ranking"}, ArgumentError, "task is 'ranking'"),
    ],
)
def test_refusals(features: Any, labels: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        LogME(**options).fit(features, labels)


def test_all_shards_of_another_are_merged() -> None:
    one = LogME(jackknife=3).fit(F[:160], Y[:160])
    other = LogME(jackknife=3).fit(F[160:], Y[160:])
    assert one.merge(other).n_samples_ == 320
    assert one.score_ == pytest.approx(LogME().fit(F, Y).score_, abs=1e-12)
    shards = [np.flatnonzero(np.arange(320) % 160 % 3 == shard) for shard in range(3)]
    by_hand = LogME(jackknife=3)
    for rows in shards:
        by_hand.partial_fit(F[rows], Y[rows])
    np.testing.assert_allclose(one.interval_, by_hand.interval_)  # type: ignore[arg-type]


def test_what_does_not_add_up_is_refused() -> None:
    with pytest.raises(ArgumentError, match="needs all samples at once"):
        LogME(solver="kernel").partial_fit(F, Y)
    with pytest.raises(ArgumentError, match="cannot be added to a kernel"):
        LogME().fit(WIDE, WIDE_Y).partial_fit(WIDE, WIDE_Y)
    with pytest.raises(ArgumentError, match="cannot be added to a kernel"):
        LogME().fit(F, Y).merge(LogME().fit(WIDE, WIDE_Y))
    with pytest.raises(MismatchError, match="number of features"):
        LogME().fit(F, Y).merge(LogME().fit(F[:, 1:], Y))
    with pytest.raises(NotFittedError):
        LogME().fit(F, Y).merge(LogME())
    with pytest.raises(MismatchError, match="50 and 320 samples"):
        Kernel.of(WIDE).merge(Kernel.of(F))
    with pytest.raises(WrongShape, match="kernel of 50 samples has 320"):
        LogME().fit_kernel(Kernel.of(WIDE), Y)
    one_class = LogME().partial_fit(F[:1], Y[:1])
    with pytest.raises(TooFewSamples):
        one_class.score_  # noqa: B018
    assert one_class.partial_fit(F, Y).n_samples_ == 321


def test_a_score_of_batches_tells_that_squares_do_not_tell() -> None:
    features, labels = nearly_dependent(9)
    batches = LogME(task="regression").partial_fit(features[:50], labels[:50])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches.partial_fit(features[50:], labels[50:])
    with pytest.warns(IllConditioned):
        batches.score_  # noqa: B018
    with pytest.warns(IllConditioned):
        LogME(task="regression").merge(batches).score_  # noqa: B018


@pytest.mark.parametrize("solver", ["gram", "root", "kernel"])
@pytest.mark.parametrize("size", [1e-200, 1e-161, 1e160])
def test_what_has_no_digits_left_is_refused(solver: Any, size: float) -> None:
    dice = np.random.default_rng(0)
    features, targets = dice.normal(size=(60, 4)), dice.normal(size=(60, 2))
    with np.errstate(all="ignore"):
        with pytest.raises(NotFinite, match="squares of features add up to"):
            LogME(task="regression", solver=solver).fit(features * size, targets)
        with pytest.raises(NotFinite, match="squares of column 1 of the targets add up to"):
            LogME(task="regression", solver=solver).fit(features, targets * [1, size])


def test_labels_that_are_no_whole_numbers_of_64_bits_are_refused() -> None:
    features = np.random.default_rng(0).normal(size=(60, 4))
    with pytest.raises(ArgumentError, match=r"label 2e\+30 is too large"):
        LogME().fit(features, np.array([1.0, 1e30, 2e30])[np.arange(60) % 3])
