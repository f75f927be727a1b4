"""Pre-trained models without their heads, and their features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError

Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained model without its head, and the form in which it wants its inputs."""

    name: str
    module: nn.Module
    """Inputs (B, ...), as `transform` left them, to features (B, D)."""
    transform: Transform | None = None
    """Of a batch of raw inputs (B, ...): this model's own size, scale, normalisation."""

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of raw inputs (B, ...); ArgumentError where they are no such matrix."""
        ready = inputs if self.transform is None else self.transform(inputs)
        features = self.module(ready)
        if not isinstance(features, torch.Tensor) or features.ndim != 2:
            shape = tuple(getattr(features, "shape", ())) or type(features).__name__
            raise ArgumentError(
                f"model {self.name!r} gave {shape} as features, not (samples, features); "
                "pool or flatten them, and take its head away"
            )
        return features

    def copied(self, device: torch.device) -> Backbone:
        """With a module of its own on a device: what is done to it leaves the original alone."""
        return Backbone(self.name, copy.deepcopy(self.module).to(device), self.transform)

    def frozen(self, device: torch.device) -> Backbone:
        """A copy that gives features without gradients and without noise."""
        copied = self.copied(device)
        copied.module.eval().requires_grad_(False)
        return copied


def expect_distinct(backbones: list[Backbone]) -> None:
    """ArgumentError where two models share a name: what is known of them goes by names."""
    names = [backbone.name for backbone in backbones]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(f"several models are named {', '.join(twice)}; name each differently")


@torch.no_grad()
def features_of(frozen: Backbone, inputs: torch.Tensor) -> torch.Tensor:
    """Features (B, D) of a frozen model; ArgumentError where some are not finite."""
    features = frozen(inputs)
    bad = int((~features.isfinite()).any(dim=1).sum())
    if bad:
        raise ArgumentError(
            f"model {frozen.name!r} gave features that are not finite for {bad} of "
            f"{len(features)} samples; look at its weights and its transform"
        )
    return features
