"""The operation itself: every kind of layer, every set of gradients, twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from tests.workloads.conv_bn.cases import DOUBLE, Pair, assert_same, drawn, learnt
from torch import Tensor, nn

from crossdock.workloads.conv_bn import Way, report_of, tune_mode

LAYERS: dict[str, tuple[Callable[[], Pair], tuple[int, ...]]] = {
    "linear": (lambda: Pair(nn.Linear(5, 6), nn.BatchNorm1d(6)), (4, 5)),
    "conv1d": (lambda: Pair(nn.Conv1d(4, 6, 3, groups=2), nn.BatchNorm1d(6)), (2, 4, 7)),
    "conv3d": (
        lambda: Pair(nn.Conv3d(2, 4, (1, 2, 3), padding=(0, 1, 1)), nn.BatchNorm3d(4)),
        (2, 2, 3, 4, 5),
    ),
    "no bias, no affine": (
        lambda: Pair(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)),
        (2, 3, 5, 5),
    ),
    "dilated, strided": (
        lambda: Pair(nn.Conv2d(3, 4, 3, 2, dilation=2, padding=(1, 3)), nn.BatchNorm2d(4)),
        (2, 3, 8, 7),
    ),
    "same": (lambda: Pair(nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4)), (2, 3, 5, 5)),
    "same, oblong": (
        lambda: Pair(nn.Conv2d(3, 4, (3, 5), padding="same"), nn.BatchNorm2d(4)),
        (2, 3, 5, 6),
    ),
    "same, uneven": (
        lambda: Pair(nn.Conv2d(3, 4, (2, 4), padding="same"), nn.BatchNorm2d(4)),
        (2, 3, 5, 6),
    ),
    "valid": (lambda: Pair(nn.Conv1d(3, 4, 3, padding="valid"), nn.BatchNorm1d(4)), (2, 3, 6)),
    "circular": (
        lambda: Pair(
            nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="circular"), nn.BatchNorm2d(4)
        ),
        (2, 3, 5, 5),
    ),
    "reflect": (
        lambda: Pair(nn.Conv1d(3, 4, 3, padding=2, padding_mode="reflect"), nn.BatchNorm1d(4)),
        (2, 3, 6),
    ),
    "depthwise": (lambda: Pair(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)), (2, 4, 5, 5)),
    "transposed 1d": (
        lambda: Pair(nn.ConvTranspose1d(4, 6, 3, 2, groups=2), nn.BatchNorm1d(6)),
        (2, 4, 5),
    ),
    "transposed 2d": (
        lambda: Pair(
            nn.ConvTranspose2d(6, 9, (3, 2), 2, (1, 0), (1, 0), groups=3, dilation=(2, 1)),
            nn.BatchNorm2d(9),
        ),
        (2, 6, 4, 3),
    ),
    "transposed 3d": (
        lambda: Pair(nn.ConvTranspose3d(2, 3, 2, 2, bias=False), nn.BatchNorm3d(3)),
        (2, 2, 2, 3, 2),
    ),
    "SyncBatchNorm": (lambda: Pair(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)), (2, 3, 5, 5)),
}


def layer(name: str) -> tuple[Pair, Tensor]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    pair = learnt(make())
    assert isinstance(pair, Pair)
    return pair, drawn(*shape)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("way", ["recompute", "tune"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_step_of_each_layer(name: str, way: Way, trace: bool) -> None:
    model, x = layer(name)
    tuned = tune_mode(model, ways=way, trace=trace)
    report = report_of(tuned)
    assert report is not None
    assert report.counts() == ({"joined": 1} if trace else {"at run time": 1})
    assert_same(tuned, model, x, near=1e-13)
    if not trace:
        report = report_of(tuned)
        assert report is not None
        assert report.lines[0].seen == "tuned"


@pytest.mark.parametrize("trained", list(itertools.product([False, True], repeat=5)))
def test_any_set_of_gradients(trained: tuple[bool, ...]) -> None:
    if not any(trained):
        return
    model, x = layer("transposed 1d")
    leaves = [model.conv.weight, model.conv.bias, model.norm.weight, model.norm.bias]
    for one, wanted in zip((x, *leaves), trained, strict=True):
        assert isinstance(one, Tensor)
        one.requires_grad_(wanted)
    for trace in (True, False):
        assert_same(tune_mode(model, trace=trace), model, x, near=1e-13)


@pytest.mark.parametrize("name", ["linear", "same, uneven", "transposed 2d"])
def test_gradients_of_gradients(name: str) -> None:
    model, x = layer(name)
    tuned = tune_mode(model)
    weights = [one.detach().requires_grad_() for one in tuned.parameters()]
    names = [key for key, _ in tuned.named_parameters()]

    def run(inputs: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        out: Tensor = torch.func.functional_call(tuned, given, (inputs,))
        return out

    few = x.detach()[:2, ..., :4].clone().requires_grad_() if name == "same, uneven" else x
    assert torch.autograd.gradcheck(run, (few, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (few, *weights), fast_mode=True)


def test_gradients_by_sample() -> None:
    model, x = layer("depthwise")
    found = []
    for each in (model, tune_mode(model)):
        leaves = {name: one.detach() for name, one in each.named_parameters()}

        def loss(given: dict[str, Tensor], one: Tensor, called: nn.Module = each) -> Tensor:
            out: Tensor = torch.func.functional_call(called, given, (one[None],))
            return out.square().sum()

        found.append(torch.func.vmap(torch.func.grad(loss), (None, 0))(leaves, x.detach()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trace", [True, False])
def test_autocast_gives_the_dtypes_and_about_the_numbers(trace: bool) -> None:
    torch.manual_seed(0)
    model = learnt(Pair(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16))).float()
    x = torch.randn(4, 8, 9, 9)
    exact = model.double()(x.double())
    model = model.float()
    results = []
    for each in (model, tune_mode(model, trace=trace)):
        with torch.autocast("cpu", torch.bfloat16):
            out = each(x)
        gradients = torch.autograd.grad(out.float().square().sum(), list(each.parameters()))
        results.append((out, *gradients))
    for mine, right in zip(results[1], results[0], strict=True):
        assert mine.dtype == right.dtype
        assert (mine - right).float().norm() < 0.02 * right.float().norm()
    errors = [float((found[0] - exact).detach().norm()) for found in results]
    assert errors[1] < 1.5 * errors[0]
    assert results[0][0].dtype is torch.bfloat16


def test_mixed_precision_modules_keep_their_dtypes() -> None:
    model = learnt(Pair(nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)))
    model.conv.to(torch.bfloat16)
    model.norm.float()
    x = drawn(4, 8, 9, 9).detach().to(torch.bfloat16)
    right, mine = model(x), tune_mode(model)(x)
    assert mine.dtype is right.dtype is torch.bfloat16
    assert (mine - right).norm() < 0.02 * right.norm()
    gradients = torch.autograd.grad(mine.float().sum(), list(model.parameters()))
    assert [one.dtype for one in gradients] == [one.dtype for one in model.parameters()]


def test_the_layout_of_memory_stays() -> None:
    model, x = layer("dilated, strided")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    tuned = tune_mode(model)
    assert tuned(x).stride() == model(x).stride()
    assert_same(tuned, model, x, near=1e-13)


def test_zero_scale_has_a_gradient() -> None:
    model, x = layer("conv1d")
    assert isinstance(model.norm.weight, Tensor)
    nn.init.zeros_(model.norm.weight)
    assert_same(tune_mode(model), model, x, near=1e-13)
    assert model.norm.weight.grad is not None
    assert model.norm.weight.grad.abs().min() > 0
    assert model.norm.weight.dtype is DOUBLE
