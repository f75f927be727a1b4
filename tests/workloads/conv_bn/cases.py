"""Models with BatchNorms that have learnt something, and what comes out of a step of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crossdock.workloads.conv_bn.layers import is_norm

DOUBLE = torch.float64
NEAR = 1e-12
"""Relative to the largest entry of a tensor."""


class Pair(nn.Module):
    """A layer and a BN behind it."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv: Any = conv
        self.norm: Any = norm

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


def learnt(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and eval mode, with drawn statistics, scales and shifts."""
    dice = torch.Generator().manual_seed(seed)
    model = model.to(DOUBLE).eval()
    for norm in filter(is_norm, model.modules()):
        for name, low, high in (
            ("running_mean", -1.0, 1.0),
            ("running_var", 0.5, 2.0),
            ("weight", 0.5, 1.5),
            ("bias", -0.5, 0.5),
        ):
            tensor = getattr(norm, name)
            if tensor is not None:
                drawn = torch.rand(tensor.shape, generator=dice, dtype=DOUBLE)
                tensor.data.copy_(low + (high - low) * drawn)
    return model


def drawn(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers that want a gradient."""
    dice = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=dice, dtype=DOUBLE).requires_grad_()


def stepped(model: Any, *inputs: Tensor) -> list[Tensor | None]:
    """Outputs, then the gradients of inputs and parameters, of a loss that weighs all outputs."""
    for one in (*inputs, *model.parameters()):
        one.grad = None
    outputs = model(*inputs)
    listed: Sequence[Tensor] = outputs if isinstance(outputs, list | tuple) else [outputs]
    terms = [
        (one * torch.linspace(-1, 1, one.numel(), dtype=one.dtype).reshape(one.shape)).sum()
        for one in listed
    ]
    torch.autograd.backward(sum(terms[1:], terms[0]))
    gradients = [one.grad for one in (*inputs, *model.parameters())]
    return [*(one.detach() for one in listed), *gradients]


def farthest(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> float:
    """Most that any tensor is off, relative to its largest entry."""
    assert len(found) == len(expected)
    worst = 0.0
    for mine, right in zip(found, expected, strict=True):
        assert (mine is None) == (right is None)
        if mine is not None and right is not None:
            assert mine.shape == right.shape
            assert mine.dtype == right.dtype
            size = float(right.abs().max()) or 1.0
            worst = max(worst, float((mine - right).abs().max()) / size)
    return worst


def assert_same(mine: Any, right: Any, *inputs: Tensor, near: float = NEAR) -> None:
    """A step of both gives the same."""
    assert farthest(stepped(mine, *inputs), stepped(right, *inputs)) <= near


def assert_trains_alike(mine: nn.Module, right: nn.Module, *inputs: Tensor) -> None:
    """In training mode too, statistics included; both are left in eval mode."""
    mine, right = copy.deepcopy(mine).train(), copy.deepcopy(right).train()
    assert_same(mine, right, *inputs, near=1e-11)
    for (name, one), (other, two) in zip(mine.named_buffers(), right.named_buffers(), strict=True):
        assert name == other
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)
