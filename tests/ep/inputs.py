"""Tensors that examples are made of."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from hypothesis import strategies as st
from torch import Tensor

Routing = Literal["distinct", "any", "one expert", "nowhere"]


def choices(draw: st.DrawFn) -> dict[str, Any]:
    """What specs of both modes have in common."""
    return {
        "local_experts": draw(st.integers(1, 4) | st.integers(1, 20)),
        "topk": draw(st.integers(1, 8) | st.integers(1, 32)),
        "routing": draw(st.sampled_from(get_args(Routing))),
        "masked": draw(st.sampled_from([0.0, 0.2, 0.8])),
        "seed": draw(st.integers(0, 1 << 31)),
    }


def experts_of_tokens(
    generator: torch.Generator,
    tokens: int,
    topk: int,
    num_experts: int,
    routing: Routing,
    masked: float,
) -> Tensor:
    """int64 [tokens, topk] with -1 in a share of ``masked``."""
    shape = (tokens, topk)
    idx = torch.randint(0, num_experts, shape, generator=generator)
    if routing == "distinct":
        order = torch.rand((tokens, num_experts), generator=generator).argsort(1)
        width = min(topk, num_experts)
        idx = torch.full(shape, -1)
        idx[:, :width] = order[:, :width]
    elif routing == "one expert":
        one = int(torch.randint(0, num_experts, (), generator=generator))
        idx = torch.full(shape, -1)
        idx[:, torch.randint(0, topk, (), generator=generator)] = one
    elif routing == "nowhere":
        idx = torch.full(shape, -1)
    if masked:
        idx[torch.rand(shape, generator=generator) < masked] = -1
    return idx


def of_many_magnitudes(generator: torch.Generator, *shape: int) -> Tensor:
    """bf16 in whose sums the order of summation shows."""
    return of_many_magnitudes_in(torch.bfloat16, generator, *shape)


def of_many_magnitudes_in(dtype: torch.dtype, generator: torch.Generator, *shape: int) -> Tensor:
    """The same in another type."""
    values = torch.randn(shape, generator=generator, dtype=torch.float32)
    exponents = torch.randint(-6, 7, shape, generator=generator)
    return (values * 2.0**exponents).to(dtype)


def same(mine: Tensor, want: Tensor | None) -> bool:
    """Equal in shape, dtype and every bit."""
    assert want is not None
    if mine.shape != want.shape or mine.dtype != want.dtype:
        return False
    # Not contiguous(), which keeps odd strides of dimensions of size 1.
    first, second = (t.clone(memory_format=torch.contiguous_format) for t in (mine, want))
    return first.numel() == 0 or torch.equal(first.view(torch.uint8), second.view(torch.uint8))
