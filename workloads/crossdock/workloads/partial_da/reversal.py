"""The gradient reversal layer of Ganin and Lempitsky, ICML 2015."""

from __future__ import annotations

import math
from typing import Any

import torch

STEEPNESS = 10.0
"""Of the published schedule."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradient, None


def reverse(features: torch.Tensor, strength: float) -> torch.Tensor:
    """The features as they are; their gradient is multiplied by -`strength`."""
    return _Reverse.apply(features, strength)  # type: ignore[no-any-return, no-untyped-call]


def ramp(progress: float) -> float:
    """2 / (1 + e^(-10 p)) - 1 for p from 0 to 1: no adversary before there are features."""
    return 2 / (1 + math.exp(-STEEPNESS * progress)) - 1
