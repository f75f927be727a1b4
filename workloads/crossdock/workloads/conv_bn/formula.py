"""A convolution and the affine transform behind it as one convolution (You et al., ICLR 2024).

With s = gamma / sqrt(var + eps), BN(w * X + b) is (s w) * X + (beta + s (b - mu)); C channels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from crossdock.workloads.conv_bn.geometry import Geometry


class Block(NamedTuple):
    """The tensors of a ConvBN block, all (C,) but for the weight; None where a layer has none."""

    weight: Tensor
    """As the layer has it: (C, C_in / groups, ...), or transposed (C_in, C / groups, ...)."""
    bias: Tensor | None
    gamma: Tensor | None
    beta: Tensor | None
    mean: Tensor
    variance: Tensor


def reciprocal_deviation(block: Block, eps: float) -> Tensor:
    """1 / sqrt(var + eps), (C,)."""
    return (block.variance + eps).rsqrt()


def scale(block: Block, eps: float) -> Tensor:
    """s, (C,)."""
    deviation = reciprocal_deviation(block, eps)
    return deviation if block.gamma is None else block.gamma * deviation


def folded_weight(block: Block, factor: Tensor, geometry: Geometry | None) -> Tensor:
    """s w, in the shape of w."""
    return block.weight * spread(factor, block.weight, geometry)


def folded_bias(block: Block, factor: Tensor) -> Tensor:
    """beta + s (b - mu), (C,)."""
    shift = -block.mean if block.bias is None else block.bias - block.mean
    moved = factor * shift
    return moved if block.beta is None else block.beta + moved


def spread(channels: Tensor, weight: Tensor, geometry: Geometry | None) -> Tensor:
    """(C,) in a shape that multiplies each output channel of the weight."""
    ones = (1,) * (weight.dim() - 2)
    if geometry is None or not geometry.transposed:
        return channels.reshape(-1, 1, *ones)
    groups = geometry.groups
    rows = weight.shape[0] // groups
    each = channels.reshape(groups, 1, -1).expand(groups, rows, -1)
    return each.reshape(weight.shape[0], weight.shape[1], *ones)


def channel_sums(products: Tensor, geometry: Geometry | None) -> Tensor:
    """What is in the shape of a weight, summed over each output channel: (C,)."""
    if geometry is None or not geometry.transposed:
        return products.flatten(1).sum(1)
    groups, rows = geometry.groups, products.shape[0] // geometry.groups
    return products.reshape(groups, rows, products.shape[1], -1).sum((1, 3)).flatten()
