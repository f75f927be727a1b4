"""Models without heads: what they leave alone and what they refuse."""

import pytest
import torch
from tests.workloads.b_tuning.cases import convolutional, dense
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone, expect_distinct, features_of

CPU = torch.device("cpu")


def test_a_model_sees_its_inputs_as_it_wants_them() -> None:
    model = Backbone("doubling", nn.Identity(), lambda inputs: 2 * inputs)
    assert model(torch.ones(3, 2)).tolist() == [[2, 2]] * 3


def test_a_frozen_copy_has_no_noise_and_leaves_the_original_in_training() -> None:
    model = convolutional("conv")
    frozen = model.frozen(CPU)
    inputs = torch.rand(8, 64)
    assert torch.equal(features_of(frozen, inputs), features_of(frozen, inputs))
    assert not any(parameter.requires_grad for parameter in frozen.module.parameters())
    assert model.module.training
    assert all(parameter.requires_grad for parameter in model.module.parameters())


def test_features_that_are_no_matrix_are_refused() -> None:
    model = Backbone("maps", nn.Conv2d(1, 4, 3))
    with pytest.raises(ArgumentError, match=r"'maps' gave \(2, 4, 6, 6\).*pool or flatten"):
        model(torch.rand(2, 1, 8, 8))


def test_features_that_are_not_finite_are_refused() -> None:
    model = dense("broken", 5)
    with torch.no_grad():
        model.module[0].weight[0, 0] = torch.inf  # type: ignore[index]
    inputs = torch.zeros(3, 64)
    inputs[1, 0] = 1
    with pytest.raises(ArgumentError, match="'broken' gave features that are not finite"):
        features_of(model, inputs)


def test_models_need_different_names() -> None:
    with pytest.raises(ArgumentError, match="several models are named one"):
        expect_distinct([dense("one", 3), dense("two", 3), dense("one", 4)])
