"""A ConvBN block as one operation; what stands in the place of two modules in a traced forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from crossdock.workloads.conv_bn import geometry as geometries
from crossdock.workloads.conv_bn import layers, recompute
from crossdock.workloads.conv_bn.formula import Block, folded_bias, folded_weight, scale

Way = Literal["eval", "tune", "recompute"]
"""eval: one module after the other; tune: one convolution, whose weight s w is kept for the
backward pass; recompute: the same, but s w is computed again there."""


def conv_bn(
    conv: nn.Module,
    norm: nn.Module,
    inputs: Tensor,
    way: Way,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """``norm(conv(inputs))``, by the modules themselves wherever they are not to be one.

    That is: where the BN normalises by the batch, where hooks wait for a module, and where the
    input is not of a kind that is handled; so whatever goes wrong goes wrong as it did.
    """
    if way == "eval" or against(conv, norm, inputs) is not None:
        given = () if output_size is None else (output_size,)
        out: Tensor = norm(conv(inputs, *given))
        return out
    features = inputs.to(layers.computing_dtype(inputs))
    features, geometry = geometries.prepared(conv, features, output_size)
    block, eps = block_of(conv, norm), cast(Any, norm).eps
    if way == "recompute":
        return recompute.conv_bn(features, block, eps, geometry)
    factor = scale(block, eps)
    kernel = folded_weight(block, factor, geometry).to(features.dtype)
    offset = folded_bias(block, factor).to(features.dtype)
    return geometries.run(features, kernel, offset, geometry)


def against(conv: nn.Module, norm: nn.Module, inputs: Tensor) -> str | None:
    """Why this call goes through the modules; None where it need not."""
    if norm.training:
        return "the BN is in training mode"
    if layers.hooked(conv) or layers.hooked(norm) or layers.all_hooked():
        return "hooks wait for the modules"
    never = layers.against_pair(conv, norm) or layers.against_input(conv, inputs)
    if never is None and torch.is_grad_enabled() and not _differentiated(conv, inputs):
        return "the convolution needs no gradient: its input may be written afterwards"
    return never


def _differentiated(conv: nn.Module, inputs: Tensor) -> bool:
    return inputs.requires_grad or any(one.requires_grad for one in conv.parameters(recurse=False))


def block_of(conv: nn.Module, norm: nn.Module) -> Block:
    """Their tensors; those of a pair that ``layers.against_pair`` has nothing against."""
    own: Any = conv
    other: Any = norm
    return Block(
        own.weight, own.bias, other.weight, other.bias, other.running_mean, other.running_var
    )
