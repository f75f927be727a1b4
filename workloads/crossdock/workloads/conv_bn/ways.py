"""Which way each layer goes: one for all, by name, by a function, or what saves most."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn.fused import Way
from crossdock.workloads.conv_bn.survey import Layer, norms

Ways = Way | Literal["auto"] | Mapping[str, Way] | Callable[[Layer], Way]
"""One for all; auto: what saves most for given inputs, see ``cheapest``; by the BN's name
(recompute for those that are not named); or whatever a function of the layer gives."""

DEFAULT: Way = "recompute"
_KNOWN = typing.get_args(Way)
SPARE = 0.01
"""Part of what a layer saves that auto gives for not computing s w again."""
_VECTORS = 4
"""By channel, that tune keeps beside s w."""


def choose(
    model: nn.Module, found: Sequence[Layer], ways: Ways, inputs: Sequence[Any] | None
) -> list[Way]:
    """The way of each layer.

    Raises:
        ArgumentError: a way or a name that there is not; auto without inputs.
    """
    if isinstance(ways, str) and ways == "auto":
        if inputs is None:
            raise ArgumentError("ways='auto' needs inputs=, what the model is called with")
        return list(cheapest(model, found, inputs))
    if isinstance(ways, Mapping):
        _expect_names(model, ways)
        return [_known(ways.get(layer.norm_name, DEFAULT), layer) for layer in found]
    if callable(ways):
        return [_known(ways(layer), layer) for layer in found]
    return [_known(ways, None)] * len(found)


def elsewhere(ways: Ways, norm_name: str) -> Way:
    """The way of a BN whose convolution is only known at run time; there tune is recompute."""
    if isinstance(ways, Mapping):
        return ways.get(norm_name, DEFAULT)
    return ways if ways in _KNOWN else DEFAULT  # type: ignore[return-value]


def cheapest(model: nn.Module, found: Sequence[Layer], inputs: Sequence[Any]) -> list[Way]:
    """Of each layer, the way that saves most for inputs of these shapes, or next to most.

    Nothing keeps less than recompute. Where s w is small beside the output that is no longer kept,
    tune saves as much but for SPARE, and computes s w once. The model runs once, in eval mode.
    """
    saved = _output_bytes(model, found, inputs)
    return [
        "tune" if _kept_by_tune(layer) <= SPARE * saved[layer.conv] else DEFAULT for layer in found
    ]


def _kept_by_tune(layer: Layer) -> int:
    weight = cast(Tensor, layer.conv.weight)
    channels = cast(int, layer.norm.num_features)
    return (weight.numel() + _VECTORS * channels) * weight.element_size()


def _output_bytes(
    model: nn.Module, found: Sequence[Layer], inputs: Sequence[Any]
) -> dict[nn.Module, int]:
    """Of each convolution's last output; 0 where the inputs do not reach it."""
    sizes = {layer.conv: 0 for layer in found}

    def note(conv: nn.Module, _: Any, out: Tensor) -> None:
        sizes[conv] = out.numel() * out.element_size()

    flags = {module: module.training for module in model.modules()}
    hooks = [conv.register_forward_hook(note) for conv in sizes]
    try:
        model.eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, flag in flags.items():
            module.training = flag
    return sizes


def _expect_names(model: nn.Module, ways: Mapping[str, Way]) -> None:
    there = {name for name, _ in norms(model)}
    for name, way in ways.items():
        if name not in there:
            raise ArgumentError(
                f"ways has {name!r}, which is no BatchNorm of the model; name some of"
                f" {', '.join(sorted(there)[:5])}, ..."
            )
        _known(way, None)


def _known(way: Any, layer: Layer | None) -> Way:
    if way not in _KNOWN:
        where = f" for {layer.norm_name}" if layer else ""
        raise ArgumentError(f"way {way!r}{where} is unknown; choose from {', '.join(_KNOWN)}")
    return cast(Way, way)
