"""Tune mode for modules whose calls are only known when they happen.

A convolution leaves a note on its output: where it comes from. A BN in eval mode that is given
such an output, as it left the convolution, normalises it as always, but tells autograd to go back
through both at once: from the note's input and the leaves. So the output itself is not kept, the
numbers of the forward pass are the same bits, and a BN behind anything else does what it always
did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from crossdock.workloads.conv_bn import geometry as geometries
from crossdock.workloads.conv_bn import layers, recompute, swap
from crossdock.workloads.conv_bn.fused import block_of

_NOTE = "_conv_bn_origin"
_OUTCOME = "_conv_bn_outcome"
TUNED = "tuned"


@dataclass(frozen=True)
class _Origin:
    """Of an output of a convolution, and the versions as they were then."""

    conv: nn.Module
    inputs: Tensor
    output_size: Any
    versions: tuple[int, ...]


class NotingConv(swap.Swapped):
    """A convolution that says of its output that it is its own."""

    def forward(self, input: Tensor, *size: Any, **named: Any) -> Tensor:  # noqa: A002
        out: Tensor = super().forward(input, *size, **named)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return out
        if type(out) is Tensor and out.requires_grad and not input.is_inference():
            asked = size[0] if size else named.get("output_size")
            noted = _Origin(self, input, asked, _versions(input, out, self))
            setattr(out, _NOTE, noted)
        return out


class NotedNorm(swap.Swapped):
    """A BN that keeps the input of the convolution before it, where there is one."""

    _own = (_OUTCOME,)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        inputs = input
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return cast(Tensor, super().forward(inputs))
        origin = getattr(inputs, _NOTE, None)
        reason = self._against(origin, inputs)
        self.__dict__[_OUTCOME] = reason or TUNED
        if reason or origin is None:
            return cast(Tensor, super().forward(inputs))
        cast(Any, self)._check_input_dim(inputs)
        features, geometry = geometries.prepared(
            origin.conv, origin.inputs.to(inputs.dtype), origin.output_size
        )
        block, eps = block_of(origin.conv, self), cast(Any, self).eps
        return recompute.conv_bn(features, block, eps, geometry, inputs.detach())

    def _against(self, origin: _Origin | None, inputs: Tensor) -> str | None:
        """Why this call is that of any BN; None where it need not be."""
        if self.training:
            return "it was in training mode"
        if origin is None:
            return layers.against_norm(self) or "its input was no convolution's output"
        if origin.versions != _versions(origin.inputs, inputs, origin.conv):
            return "something was changed in place after the convolution"
        if inputs._backward_hooks or inputs.retains_grad or origin.conv._backward_hooks:
            return "somebody waits for the gradient between convolution and BN"
        return layers.against_pair(origin.conv, self) or layers.against_input(
            origin.conv, origin.inputs
        )


def outcome(norm: nn.Module) -> str | None:
    """How the last call of a BN went that had a choice: TUNED, or why not; None before any."""
    return cast("str | None", norm.__dict__.get(_OUTCOME))


def _versions(inputs: Tensor, output: Tensor, conv: nn.Module) -> tuple[int, ...]:
    """They rise when a tensor is written in place."""
    leaves = [one for one in (conv.weight, conv.bias) if isinstance(one, Tensor)]
    return (inputs._version, output._version, *(one._version for one in leaves))
