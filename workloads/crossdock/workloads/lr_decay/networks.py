"""Networks small enough that several train side by side: features, and a linear head on them."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from crossdock.proxy.errors import ArgumentError

Factory = Callable[[tuple[int, ...], int], "Network"]
"""Shape of an input without the batch, and classes, to a network."""


class Network(nn.Module):
    """`body` gives features (B, D) of inputs (B, ...), `head` logits (B, classes) of features."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return torch.as_tensor(self.head(self.body(inputs)))


def mlp(shape: tuple[int, ...], classes: int, hidden: Sequence[int] = (128, 128)) -> Network:
    """Layers of ReLU on the numbers of an input."""
    widths = [torch.Size(shape).numel(), *hidden]
    layers = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return Network(nn.Sequential(nn.Flatten(), *layers), nn.Linear(widths[-1], classes))


def cnn(
    shape: tuple[int, ...], classes: int, channels: Sequence[int] = (16, 32), width: int = 64
) -> Network:
    """Convolutions of 3 x 3, each halving a picture (channels, height, width) or (height, width).

    Raises:
        ArgumentError: the shape is none of a picture that can be halved so often.
    """
    if len(shape) not in (2, 3) or min(shape[-2:]) < 2 ** len(channels):
        raise ArgumentError(
            f"inputs of shape {shape} are no pictures for a cnn; give (channels, height, width) or "
            f"(height, width) of at least {2 ** len(channels)}, or use mlp"
        )
    picture = (1, *shape) if len(shape) == 2 else shape
    layers: list[nn.Module] = [nn.Unflatten(1, picture[:2])] if len(shape) == 2 else []
    depths = [picture[0], *channels]
    for before, after in itertools.pairwise(depths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    high, wide = (side >> len(channels) for side in picture[1:])
    layers += [nn.Flatten(), nn.Linear(depths[-1] * high * wide, width), nn.ReLU()]
    return Network(nn.Sequential(*layers), nn.Linear(width, classes))


BUILT_IN: dict[str, Factory] = {"mlp": mlp, "cnn": cnn}


def factory(name: str) -> Factory:
    """``mlp``, ``cnn``, or MODULE:FUNCTION, called with the shape of an input and the classes.

    Raises:
        ArgumentError: there is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(
            f"network {name} is none of {', '.join(BUILT_IN)} and no MODULE:FUNCTION here: {error}"
        ) from error
