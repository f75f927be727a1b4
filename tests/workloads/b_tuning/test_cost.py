"""Operations, against the sums of matrix products written out."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.workloads.b_tuning.cases import convolutional, dense
from torch import nn

from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.cost import Account, Cost, cost_of, with_projections


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


ACCOUNT = Account(
    student=Cost(10, 30),
    candidates=[Cost(10, 30), Cost(5, 15), Cost(100, 300)],
    teachers=[Cost(100, 300)],
    samples=7,
    views=2,
    epochs=4,
)


def test_b_tuning_pays_for_ranking_targets_and_training() -> None:
    assert ACCOUNT.ranking == 7 * (10 + 5 + 100)
    assert ACCOUNT.teaching == 7 * 2 * 100
    assert ACCOUNT.total == 7 * (10 + 5 + 100 + 2 * 100 + 4 * 30)


@given(training=st.integers(1, 1000), before=st.integers(0, 3000))
def test_a_rival_spends_no_less_and_at_most_an_epoch_more(training: int, before: int) -> None:
    epochs, operations = ACCOUNT.rival(Cost(1, training), before=before)
    assert operations == before + epochs * 7 * training
    assert operations >= ACCOUNT.total
    assert operations < ACCOUNT.total + 7 * training or epochs == 1


def test_projections_are_three_products_more() -> None:
    assert with_projections(Cost(5, 9), 4, [10, 20]) == Cost(5, 9 + 3 * 2 * 4 * 30)


def test_frozen_parameters_cost_no_backward() -> None:
    module = nn.Sequential(nn.Linear(64, 12), nn.ReLU())
    module.requires_grad_(False)
    cost = cost_of(Backbone("frozen", module), torch.zeros(1, 64), 10)
    assert cost.training == 2 * 64 * 12 + 2 * 2 * 12 * 10
