"""What a step takes, counted by hand."""

from __future__ import annotations

import pytest
import torch
from tests.workloads.conv_bn.cases import Pair
from torch import nn

from crossdock.workloads.conv_bn import Way, memory, tune_mode
from crossdock.workloads.conv_bn.networks import NETWORKS

INPUT, OUTPUT, WEIGHT = 2 * 3 * 8 * 8 * 4, 2 * 5 * 8 * 8 * 4, 5 * 3 * 9 * 4
SCALE = 5 * 4


def pair() -> nn.Module:
    return Pair(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)).eval()


def counted(model: nn.Module, device: str = "cpu") -> memory.Counted:
    model = model.to(device)
    return memory.counted(model, model, [torch.ones(2, 3, 8, 8, device=device)])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_bytes_of_each_way(device: str) -> None:
    of_meta = 2 * SCALE if device == "meta" else 0  # that BN keeps two more vectors by channel
    assert counted(pair(), device).saved == INPUT + OUTPUT + of_meta
    for trace in (True, False):
        assert counted(tune_mode(pair(), trace=trace), device).saved == INPUT
    tune: Way = "tune"
    extra = counted(tune_mode(pair(), ways=tune), device).saved - INPUT - WEIGHT
    assert 0 < extra <= 4 * SCALE, "vectors by channel"


def test_parameters_are_counted_once() -> None:
    model = pair()
    found = counted(model)
    assert found.gradients == WEIGHT + 2 * SCALE
    assert found.parameters == WEIGHT + 4 * SCALE + 8
    assert found.total == found.saved + found.parameters + found.gradients
    model.requires_grad_(False)
    assert counted(model).gradients == 0
    assert counted(model).saved == 0


def test_a_peak_is_at_least_what_must_be_there() -> None:
    model, x = pair(), torch.ones(2, 3, 8, 8)
    least = counted(model)
    peak = memory.peak_cpu(model, [x])
    assert least.total <= peak <= 20 * least.total
    assert all(one.grad is None for one in model.parameters())
    larger = memory.peak_cpu(model, [torch.ones(8, 3, 8, 8)])
    assert larger >= peak + 6 * (INPUT + OUTPUT) // 2


@pytest.mark.parametrize("name", ["decoder", "densenet121"])
def test_networks_keep_less_in_tune_mode(name: str) -> None:
    with torch.device("meta"):
        model = NETWORKS[name]().eval()
        x = torch.empty(1, 3, 64, 64)
    tuned = tune_mode(model)
    assert memory.counted(tuned, tuned, [x]).saved < memory.counted(model, model, [x]).saved


def test_published_figure() -> None:
    """ResNet-50, 8 pictures of 128 x 128, in MiB."""
    with torch.device("meta"):
        model = NETWORKS["resnet50"]().eval()
        x = torch.empty(8, 3, 128, 128)
    ways: tuple[Way, ...] = ("eval", "tune", "recompute")
    found = [
        memory.counted(each, each, [x]).saved / 2**20
        for each in (tune_mode(model, ways=way) for way in ways)
    ]
    assert [round(one) for one in found] == [214, 193, 103]
