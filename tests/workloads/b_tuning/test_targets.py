"""Targets: the formula, each teacher's own transform, and that nothing is computed twice."""

import numpy as np
import pytest
import torch
from tests.workloads.b_tuning.cases import SAMPLES, convolutional, dense, views
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import targets
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.targets import (
    FeatureTarget,
    PosteriorTarget,
    TargetCache,
    Teacher,
    fill,
)

CPU = torch.device("cpu")
DICE = np.random.default_rng(0)


def teacher(backbone: Backbone, width: int, weight: float) -> Teacher:
    return Teacher(backbone, DICE.normal(size=(10, width)), weight)


def test_a_target_is_the_weighted_sum_of_what_each_teacher_says_of_its_own_inputs() -> None:
    flat, square = teacher(dense("flat", 6), 6, 0.7), teacher(convolutional("square"), 144, 0.3)
    inputs = views().inputs[:5]
    got = PosteriorTarget([flat, square], CPU)(inputs)
    module = square.backbone.module.eval()
    with torch.no_grad():
        from_flat = flat.backbone.module(inputs).double().numpy()
        from_square = module(inputs.reshape(-1, 1, 8, 8) * 2 - 1).double().numpy()
    expected = 0.7 * from_flat @ flat.means.T + 0.3 * from_square @ square.means.T
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert got.dtype == np.float32


def test_features_stand_side_by_side() -> None:
    first, second = teacher(dense("a", 3, seed=1), 3, 0.5), teacher(dense("b", 4, seed=2), 4, 0.5)
    inputs = views().inputs[:5]
    got = FeatureTarget([first, second], CPU)(inputs)
    with torch.no_grad():
        expected = torch.cat([first.backbone.module(inputs), second.backbone.module(inputs)], 1)
    np.testing.assert_array_equal(got, expected.numpy())


class Counting(nn.Module):
    """Counts the samples that it sees."""

    seen = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        Counting.seen += len(inputs)
        return inputs


def test_each_view_of_each_sample_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "CHUNK", 16)
    Counting.seen = 0
    target = PosteriorTarget([teacher(Backbone("counting", Counting()), 64, 1.0)], CPU)
    cache, seen = TargetCache(SAMPLES, 3, 10), views(3)
    cache.put(1, slice(0, 16), np.ones((16, 10), np.float32))
    fill(cache, target, seen, CPU)
    assert Counting.seen == 3 * SAMPLES - 16
    assert (cache.values[1, :16] == 1).all()
    before = cache.values.copy()
    fill(cache, target, seen, CPU)
    assert Counting.seen == 3 * SAMPLES - 16
    np.testing.assert_array_equal(cache.values, before)


def test_what_is_looked_up_is_what_the_teacher_says_of_that_view() -> None:
    target = PosteriorTarget([teacher(dense("one", 6), 6, 1.0)], CPU)
    cache, seen = TargetCache(SAMPLES, 2, 10), views(2)
    fill(cache, target, seen, CPU)
    samples = torch.tensor([7, 3, 50])
    for view in range(2):
        direct = target(seen.of(samples, view))
        np.testing.assert_allclose(cache.get(view, samples), direct, rtol=1e-5, atol=1e-6)


def test_a_target_that_was_never_computed_is_no_zero() -> None:
    cache = TargetCache(4, 2, 3)
    cache.put(0, slice(0, 2), np.zeros((2, 3), np.float32))
    assert cache.get(0, torch.tensor([1, 0])).shape == (2, 3)
    with pytest.raises(ArgumentError, match="of sample 3 and 0 others in view 0"):
        cache.get(0, torch.tensor([1, 3]))
    with pytest.raises(ArgumentError, match="of sample 1 and 1 others in view 1"):
        cache.get(1, torch.tensor([1, 0]))


def test_targets_of_other_data_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"\(2, 4, 3\), but \(2, 5, 3\) is needed"):
        TargetCache(4, 2, 3).expect(5, 2, 3)


def test_no_teacher_is_refused() -> None:
    with pytest.raises(ArgumentError, match="there is no teacher"):
        PosteriorTarget([], CPU)
