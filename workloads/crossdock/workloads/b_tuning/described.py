"""Models described as for `crossdock run rank`, as backbones that can be trained."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.rank.models import Model
from crossdock.workloads.rank.networks import built, head_of

HEAD = "head"
"""Name of a new head where the model had none."""


def backbone_of(model: Model) -> Backbone:
    """Build a model, without its head; ModelFailed where that fails."""
    transform = None if model.shape is None else partial(_reshaped, shape=model.shape)
    return Backbone(model.name, Body(model), transform)


class Body(nn.Module):
    """A described model: inputs (B, ...) to features (B, D), which is what its head was given."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        made = built(model)
        self.head = ""
        """Name of the head that was taken away; empty: there was none."""
        if isinstance(made, nn.Module):
            head = head_of(made, model)
            self.head = next((n for n, each in made.named_modules() if each is head), "")
            if self.head:
                made.set_submodule(self.head, nn.Identity())
        self.made: Any = made

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """ArgumentError where the place of the head is not met once."""
        if not self.head:
            given = self.made(inputs)
            features = given[0] if isinstance(given, tuple) else given
            return torch.as_tensor(features).flatten(1)
        seen: list[torch.Tensor] = []
        place = self.made.get_submodule(self.head)
        hook = place.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self.made(inputs)
        finally:
            hook.remove()
        if len(seen) != 1:
            raise ArgumentError(f"head {self.head!r} ran {len(seen)} times in a batch, not once")
        return seen[0].flatten(1)


def weights_of(network: dict[str, torch.Tensor], head: str) -> dict[str, torch.Tensor]:
    """The state of a tuned ``Network`` over a ``Body`` by the names of the model itself.

    The model's own class, made for as many classes as the student knows, can load it.
    """
    body, own = "body.made.", "head."
    named = {
        name.removeprefix(body): value for name, value in network.items() if name.startswith(body)
    }
    fresh = {
        f"{head or HEAD}.{name.removeprefix(own)}": value
        for name, value in network.items()
        if name.startswith(own)
    }
    return {name: value.contiguous().clone() for name, value in (named | fresh).items()}


def _reshaped(inputs: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return inputs.reshape(-1, *shape)
