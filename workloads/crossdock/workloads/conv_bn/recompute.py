"""Tune mode that saves the input and leaves: s w is computed again in the backward pass.

dw = s dw', db = s db', dbeta = db', dgamma = (<dw', w> + (b - mu) db') / sqrt(var + eps), where
<,> sums over each output channel. Nothing of the size of the output, or of s w, is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from crossdock.workloads.conv_bn import geometry as geometries
from crossdock.workloads.conv_bn.formula import (
    Block,
    channel_sums,
    folded_bias,
    folded_weight,
    reciprocal_deviation,
    scale,
    spread,
)
from crossdock.workloads.conv_bn.geometry import Geometry


def conv_bn(
    inputs: Tensor,
    block: Block,
    eps: float,
    geometry: Geometry | None,
    convolved: Tensor | None = None,
) -> Tensor:
    """BN(w * X + b), differentiable twice.

    Args:
        inputs: X, (N, C_in, ...), in the dtype that the result is to have.
        block: its tensors; mean and variance get no gradient.
        eps: of the BN.
        geometry: of the convolution; None for a linear layer.
        convolved: w * X + b where it is known, without a graph; then it is normalised as it is.
    """
    apply: Any = _Recomputed.apply
    out: Tensor = apply(inputs, *block, convolved, eps, geometry)
    return out


class _Wanted(NamedTuple):
    """Which gradients are."""

    inputs: bool
    weight: bool
    bias: bool
    gamma: bool
    beta: bool


class _Recomputed(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        convolved: Tensor | None,
        eps: float,
        geometry: Geometry | None,
    ) -> Tensor:
        if convolved is not None:
            return functional.batch_norm(convolved, mean, variance, gamma, beta, eps=eps)
        block = Block(weight, bias, gamma, beta, mean, variance)
        factor = scale(block, eps)
        kernel = folded_weight(block, factor, geometry).to(inputs.dtype)
        offset = folded_bias(block, factor).to(inputs.dtype)
        return geometries.run(inputs, kernel, offset, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        features, *block, _, ctx.eps, ctx.geometry = inputs
        weight, _, gamma = block[:3]
        needed = weight.requires_grad or (gamma is not None and gamma.requires_grad)
        ctx.shape = features.shape
        ctx.save_for_backward(features if needed else None, *block)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        features, *tensors = ctx.saved_tensors
        if features is None:  # only its shape is looked at
            features = grad.new_empty(()).expand(ctx.shape)
        wanted = _Wanted(*ctx.needs_input_grad[:5])
        found = _gradients(grad, features, Block(*tensors), ctx.eps, ctx.geometry, wanted)
        return (*found, None, None, None, None, None)


def _gradients(
    grad: Tensor,
    inputs: Tensor,
    block: Block,
    eps: float,
    geometry: Geometry | None,
    wanted: _Wanted,
) -> tuple[Tensor | None, ...]:
    """Of inputs, weight, bias, gamma and beta, from that of the output."""
    deviation = reciprocal_deviation(block, eps)
    factor = deviation if block.gamma is None else block.gamma * deviation
    kernel = folded_weight(block, factor, geometry).to(inputs.dtype)
    of_kernel_wanted = wanted.weight or wanted.gamma
    of_offset_wanted = wanted.bias or wanted.gamma or wanted.beta
    mask = (wanted.inputs, of_kernel_wanted, of_offset_wanted)
    of_inputs, of_kernel, of_offset = _of_convolution(grad, inputs, kernel, geometry, mask)
    del kernel  # as large as the weight, and so is what follows
    of_weight = of_bias = of_gamma = of_beta = None
    if of_kernel_wanted:
        of_kernel = of_kernel.to(block.weight.dtype)
    if of_offset_wanted:
        of_offset = of_offset.to(factor.dtype)
    if wanted.weight:
        of_weight = of_kernel * spread(factor, block.weight, geometry).to(of_kernel.dtype)
    if wanted.bias and block.bias is not None:
        of_bias = (factor * of_offset).to(block.bias.dtype)
    if wanted.gamma and block.gamma is not None:
        shift = -block.mean if block.bias is None else block.bias - block.mean
        of_scale = channel_sums(of_kernel * block.weight, geometry) + shift * of_offset
        of_gamma = (of_scale * deviation).to(block.gamma.dtype)
    if wanted.beta and block.beta is not None:
        of_beta = of_offset.to(block.beta.dtype)
    return of_inputs, of_weight, of_bias, of_gamma, of_beta


def _of_convolution(
    grad: Tensor,
    inputs: Tensor,
    kernel: Tensor,
    geometry: Geometry | None,
    mask: tuple[bool, bool, bool],
) -> tuple[Any, Any, Any]:
    """Gradients of input, kernel and offset, those that the mask asks for."""
    if geometry is None:
        return (
            grad @ kernel if mask[0] else None,
            grad.T @ inputs if mask[1] else None,
            grad.sum(0) if mask[2] else None,
        )
    found = torch.ops.aten.convolution_backward(
        grad, inputs, kernel, [grad.shape[1]], *geometry, mask
    )
    return found[0], found[1], found[2]
