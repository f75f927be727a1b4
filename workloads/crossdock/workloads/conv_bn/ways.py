"""Which way each layer goes: one for all, by name, by a function, or what saves most."""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn.fused import Way
from crossdock.workloads.conv_bn.survey import Layer, norms

Ways = Way | Literal["auto"] | Mapping[str, Way] | Callable[[Layer], Way]
"""One for all; auto: the one that saves most for given inputs; by the BN's name (recompute for
those that are not named); or whatever a function of the layer gives."""

DEFAULT: Way = "recompute"
_KNOWN = typing.get_args(Way)
_PREFERRED: tuple[Way, ...] = ("recompute", "tune", "eval")
"""Among those that keep as much."""
_Call = tuple[tuple[int, int], tuple[int, int]]
"""Storage of the input and its bytes, and those of the output."""


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
    """Of each layer, the way that keeps fewest bytes for the backward pass of such inputs.

    The model runs once in eval mode of its BNs. The input of a convolution costs nothing where
    another operation keeps it anyway; its output, the same.
    """
    kept, calls = _observed(model, found, inputs)
    return [_cheapest(layer, kept, calls[layer.conv]) for layer in found]


def _cheapest(layer: Layer, kept: Counter[int], call: _Call | None) -> Way:
    if call is None:  # not reached by these inputs
        return DEFAULT
    (source, source_bytes), (out, out_bytes) = call
    weight, gamma = cast(Tensor, layer.conv.weight), layer.norm.weight
    scaled = isinstance(gamma, Tensor) and gamma.requires_grad
    own = 0 if kept[source] > 1 else source_bytes
    output = 0 if kept[out] > 1 else out_bytes
    either = own if weight.requires_grad or scaled else 0
    costs: dict[Way, int] = {
        "eval": output + own,
        "tune": either + weight.numel() * weight.element_size(),
        "recompute": either,
    }
    return min(_PREFERRED, key=lambda way: costs[way])


def _observed(
    model: nn.Module, found: Sequence[Layer], inputs: Sequence[Any]
) -> tuple[Counter[int], dict[nn.Module, _Call | None]]:
    """How often each storage is kept, and input and output of each convolution: storage, bytes."""
    kept: Counter[int] = Counter()
    alive: list[Any] = []
    calls: dict[nn.Module, Any] = {layer.conv: None for layer in found}

    def pack(tensor: Tensor) -> Tensor:
        kept[_key(tensor)] += 1
        alive.append(tensor)
        return tensor

    def note(
        conv: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor], out: Tensor
    ) -> None:
        source = given[0] if given else named["input"]
        calls[conv] = tuple((_key(one), _bytes(one)) for one in (source, out))
        alive.append((source, out))

    flags = {norm: norm.training for _, norm in norms(model)}
    hooks = [conv.register_forward_hook(note, with_kwargs=True) for conv in calls]
    try:
        for norm in flags:
            norm.training = False
        with (
            torch.random.fork_rng(devices=[]),
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            alive.append(model(*inputs))
    finally:
        for hook in hooks:
            hook.remove()
        for norm, flag in flags.items():
            norm.training = flag
    return kept, calls


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


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
