"""How a convolution goes over its input, as plain numbers; a linear layer is one without any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


class Geometry(NamedTuple):
    """Arguments of ``torch.convolution`` behind input, weight and bias."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


def prepared(
    conv: nn.Module, inputs: Tensor, output_size: Sequence[int] | None = None
) -> tuple[Tensor, Geometry | None]:
    """The input, padded where zeros at both sides do not say how, and the geometry of the rest.

    Args:
        conv: a convolution, transposed or not, or a linear layer.
        inputs: (N, C_in, ...).
        output_size: what a transposed convolution was called with.
    """
    if isinstance(conv, _ConvTransposeNd):
        return inputs, _transposed(conv, inputs, output_size)
    if not isinstance(conv, _ConvNd):
        return inputs, None
    padding = conv.padding
    if conv.padding_mode != "zeros" or padding == "same":
        around = conv._reversed_padding_repeated_twice
        if conv.padding_mode != "zeros":
            inputs = functional.pad(inputs, around, mode=conv.padding_mode)
            padding = (0,) * len(conv.kernel_size)
        elif around[::2] == around[1::2]:
            padding = tuple(reversed(around[::2]))
        else:
            inputs = functional.pad(inputs, around)
            padding = (0,) * len(conv.kernel_size)
    elif padding == "valid":
        padding = (0,) * len(conv.kernel_size)
    return inputs, _geometry(conv, padding, False, conv.output_padding)


def run(inputs: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry | None) -> Tensor:
    """The layer itself."""
    if geometry is None:
        return functional.linear(inputs, weight, bias)
    return torch.convolution(inputs, weight, bias, *geometry)


def _transposed(
    conv: _ConvTransposeNd, inputs: Tensor, output_size: Sequence[int] | None
) -> Geometry:
    sizes: Any = conv
    added = conv._output_padding(
        inputs,
        None if output_size is None else list(output_size),
        sizes.stride,
        sizes.padding,
        sizes.kernel_size,
        len(conv.kernel_size),
        sizes.dilation,
    )
    return _geometry(conv, conv.padding, True, added)


def _geometry(conv: _ConvNd, padding: Any, transposed: bool, output_padding: Any) -> Geometry:
    return Geometry(
        tuple(conv.stride),
        tuple(padding),
        tuple(conv.dilation),
        transposed,
        tuple(output_padding),
        conv.groups,
    )
