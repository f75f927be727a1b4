"""Operations, against the sums of matrix products written out."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.workloads.b_tuning.cases import convolutional, dense
from torch import nn

from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.cost import Cost, budget, cost_of, epochs_within


def test_a_dense_layer() -> None:
    cost = cost_of(dense("dense", 12), torch.zeros(1, 64), 10)
    layer, head = 2 * 64 * 12, 2 * 12 * 10
    assert cost.forward == layer
    # Backwards once more for the weights; for the inputs only where there is a layer before.
    assert cost.training == 2 * layer + 3 * head


def test_convolutions_count_and_the_model_stays_as_it_was() -> None:
    model = convolutional("conv")
    cost = cost_of(model, torch.zeros(1, 64), 10)
    assert cost.forward == 2 * 4 * 9 * 36
    assert model.module.training
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_b_tuning_pays_for_ranking_targets_and_training() -> None:
    student, small, large = Cost(10, 30), Cost(5, 15), Cost(100, 300)
    paid = budget(student, [student, small, large], [large], samples=7, epochs=4, views=2)
    assert paid == 7 * (10 + 5 + 100 + 2 * 100 + 4 * 30)


@given(operations=st.integers(1, 10**9), training=st.integers(1, 1000), samples=st.integers(1, 99))
def test_a_budget_buys_no_fewer_epochs_than_it_pays_for(
    operations: int, training: int, samples: int
) -> None:
    epochs = epochs_within(operations, Cost(1, training), samples)
    assert epochs * training * samples >= operations
    assert epochs == max(1, math.ceil(operations / (training * samples)))


def test_frozen_parameters_cost_no_backward() -> None:
    module = nn.Sequential(nn.Linear(64, 12), nn.ReLU())
    module.requires_grad_(False)
    cost = cost_of(Backbone("frozen", module), torch.zeros(1, 64), 10)
    assert cost.training == 2 * 64 * 12 + 2 * 2 * 12 * 10
