"""The network that is adapted, and the discriminators beside it. They hold no dropout.

Masks drawn by each worker would make the loss depend on the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.features import WrongShape

BUILT_IN = ("mlp", "cnn")
_MLP_WIDTHS = (128, 64)
_CNN_CHANNELS = (16, 32)
_CNN_FEATURES = 64
_POOLED = 2


class Network(nn.Module):
    """A backbone, a bottleneck if there is one, and a linear head over K classes."""

    def __init__(self, backbone: Backbone, width: int, bottleneck: int, classes: int) -> None:
        """`width`: of the backbone's features; `bottleneck`: 0 for none."""
        super().__init__()
        self._backbone = backbone
        self.body = backbone.module
        self.neck = (
            nn.Sequential(nn.Linear(width, bottleneck), nn.ReLU()) if bottleneck else nn.Identity()
        )
        self.width = bottleneck or width
        self.head = nn.Linear(self.width, classes)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, D) and logits (B, K) of raw inputs (B, ...)."""
        features = self.neck(self._backbone(inputs))
        return features, self.head(features)

    def fresh(self) -> list[nn.Parameter]:
        """Parameters that no pre-training has seen."""
        return [*self.neck.parameters(), *self.head.parameters()]


class Discriminator(nn.Module):
    """An MLP with one hidden layer, features (B, D) to logits (B, `outputs`)."""

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (B, outputs)."""
        return self.layers(features)  # type: ignore[no-any-return]


class ClasswiseDiscriminators(nn.Module):
    """K separate discriminators, computed as one batched product."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Parameter(_drawn(classes, width, hidden))
        self.first_bias = nn.Parameter(torch.zeros(classes, 1, hidden))
        self.last = nn.Parameter(_drawn(classes, hidden, 1))
        self.last_bias = nn.Parameter(torch.zeros(classes, 1, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of features (B, D)."""
        many = features.expand(len(self.first), -1, -1)
        hidden = torch.baddbmm(self.first_bias, many, self.first).relu()
        return torch.baddbmm(self.last_bias, hidden, self.last).squeeze(2).T


def _drawn(classes: int, ins: int, outs: int) -> torch.Tensor:
    """Weights (K, in, out) as those of ``nn.Linear``."""
    bound = 1 / math.sqrt(ins)
    return torch.empty(classes, ins, outs).uniform_(-bound, bound)


def built_in(name: str, shape: Sequence[int]) -> Backbone:
    """A small untrained network for inputs (B, *shape).

    `mlp` flattens inputs of any shape; `cnn` takes pictures (channels, height, width), and rows
    whose length is a square as pictures of one channel.

    Raises:
        ArgumentError: another name.
        WrongShape: inputs that are no pictures for a `cnn`.
    """
    if name == "mlp":
        first, second = _MLP_WIDTHS
        size = math.prod(shape)
        layers = (nn.Flatten(), nn.Linear(size, first), nn.ReLU(), nn.Linear(first, second))
        return Backbone(name, nn.Sequential(*layers, nn.ReLU()))
    if name != "cnn":
        raise ArgumentError(f"backbone {name!r} is not built in; choose {' or '.join(BUILT_IN)}")
    picture = _picture(shape)
    first, second = _CNN_CHANNELS
    module = nn.Sequential(
        nn.Unflatten(1, picture) if len(shape) == 1 else nn.Identity(),
        nn.Conv2d(picture[0], first, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(_POOLED),
        nn.Flatten(),
        nn.Linear(second * _POOLED**2, _CNN_FEATURES),
        nn.ReLU(),
    )
    return Backbone(name, module)


def _picture(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) == 3:
        channels, height, width = shape
        return channels, height, width
    side = math.isqrt(math.prod(shape))
    if len(shape) != 1 or side * side != shape[0]:
        raise WrongShape(
            f"a cnn takes pictures (channels, height, width) or squares as rows, not inputs of"
            f" shape {tuple(shape)}; take mlp, or reshape them"
        )
    return 1, side, side
