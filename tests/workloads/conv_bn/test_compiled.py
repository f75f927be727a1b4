"""Under torch.compile."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.workloads.conv_bn.cases import Pair, assert_same, assert_trains_alike, drawn, learnt
from tests.workloads.conv_bn.test_regressions import Deciding
from torch import nn

from crossdock.workloads.conv_bn import Way, tune_mode


def network() -> nn.Module:
    torch.manual_seed(0)
    return learnt(
        nn.Sequential(
            Pair(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)),
            nn.ReLU(),
            Pair(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6)),
        )
    )


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("way", ["recompute", "tune"])
def test_a_compiled_step_is_that_of_eval_mode(way: Way) -> None:
    model, x = network(), drawn(2, 3, 5, 5)
    tuned = tune_mode(model, ways=way)
    compiled = torch.compile(tuned, backend="aot_eager", fullgraph=True)
    assert_same(compiled, model, x)
    assert_same(compiled, model, drawn(3, 3, 6, 5))


def test_compiled_models_switch_too() -> None:
    model, x = network(), drawn(2, 3, 5, 5)
    tuned = tune_mode(copy.deepcopy(model))
    compiled = torch.compile(tuned, backend="aot_eager", fullgraph=True)
    assert_same(compiled, model, x)
    tuned.train()
    assert_same(compiled, model.train(), x, near=1e-11)
    tuned.eval()
    assert_same(compiled, model.eval(), x)


def test_run_time_gives_way_to_the_compiler() -> None:
    model, x = learnt(Deciding()), drawn(2, 3, 5, 5)
    compiled = torch.compile(tune_mode(model), backend="aot_eager")
    assert_same(compiled, model, x)
    assert_trains_alike(tune_mode(model), model, x)


@pytest.mark.timeout(300)  # it compiles C++
def test_by_inductor() -> None:
    model, x = learnt(Pair(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))), drawn(2, 3, 5, 5)
    compiled = torch.compile(tune_mode(model), fullgraph=True)
    assert_same(compiled, model, x)
