"""Mixture-of-experts layers twice: all experts on one process, and shared by ranks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from crossdock.ep import Buffer, autograd

Recompute = Literal["nothing", "layer", "reentrant layer", "experts"]


@dataclasses.dataclass(frozen=True)
class MoeSpec:
    """Layers with a residual between them, and the tokens of each rank."""

    tokens: tuple[int, ...]
    hidden: int = 32
    inner: int = 24
    local_experts: int = 3
    topk: int = 3
    layers: int = 1
    dropped: float = 0.0
    """Share of the choices that are taken away: a token may lose all."""
    only_expert: int | None = None
    """All tokens go there and nowhere else."""
    alignment: int = 1
    recompute: Recompute = "nothing"
    idle_experts_skip: bool = False
    """A rank to which nothing came makes its output out of nothing."""
    dtype: torch.dtype = torch.float32
    seed: int = 0

    @property
    def num_experts(self) -> int:
        """Of all ranks."""
        return self.local_experts * len(self.tokens)

    def generator(self, what: int) -> torch.Generator:
        """Numbers that are the same wherever they are drawn."""
        return torch.Generator().manual_seed(self.seed * 1000 + what)


@dataclasses.dataclass
class Weights:
    """Of one layer; ``up`` and ``down`` of all experts or of those of one rank."""

    router: Tensor  # [experts, hidden]
    up: Tensor  # [experts, 2 * inner, hidden]
    down: Tensor  # [experts, hidden, inner]

    @staticmethod
    def draw(spec: MoeSpec, layer: int) -> Weights:
        """All of them, from the seed."""
        generator = spec.generator(layer)

        def some(*shape: int) -> Tensor:
            values = torch.randn(shape, generator=generator, dtype=torch.float32)
            return values.mul_(float(shape[-1]) ** -0.5)

        experts, hidden, inner = spec.num_experts, spec.hidden, spec.inner
        return Weights(
            some(experts, hidden) * 2,
            some(experts, 2 * inner, hidden),
            some(experts, hidden, inner),
        ).on(slice(None), spec.dtype)

    def on(self, experts: slice, dtype: torch.dtype) -> Weights:
        """Leaves of their own: the whole router and these experts."""
        tensors = (self.router, self.up[experts], self.down[experts])
        return Weights(*(t.detach().to(dtype, copy=True).requires_grad_() for t in tensors))

    def all(self) -> list[Tensor]:
        """What is trained."""
        return [self.router, self.up, self.down]


def inputs(spec: MoeSpec) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """x and target of each rank, and bool [tokens, topk] of what is dropped."""
    generator = spec.generator(99)
    shapes = [(count, spec.hidden) for count in spec.tokens]
    x = [torch.randn(s, generator=generator, dtype=torch.float32).to(spec.dtype) for s in shapes]
    target = [torch.randn(s, generator=generator, dtype=torch.float32) for s in shapes]
    chances = [torch.rand(count, spec.topk, generator=generator) for count in spec.tokens]
    return x, target, [chance < spec.dropped for chance in chances]


def route(spec: MoeSpec, x: Tensor, router: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax, then top-k; int64 [tokens, topk] and float32 [tokens, topk]."""
    chances = torch.softmax((x @ router.t()).float(), -1)
    weights, idx = chances.topk(spec.topk, -1)
    if spec.only_expert is not None:
        idx = torch.full_like(idx, spec.only_expert)
        dropped = dropped | (torch.arange(spec.topk) > 0)
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.where(dropped, -1, idx), weights.masked_fill(dropped, 0.0)


def swiglu(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """One expert."""
    gate, value = (x @ up.t()).chunk(2, -1)
    return (functional.silu(gate) * value) @ down.t()


def dense_layer(spec: MoeSpec, x: Tensor, weights: Weights, dropped: Tensor) -> Tensor:
    """Every expert for its tokens, on one process, without crossdock."""
    idx, chosen = route(spec, x, weights.router, dropped)
    out = torch.zeros_like(x)
    for expert in range(spec.num_experts):
        tokens, k = (idx == expert).nonzero(as_tuple=True)
        y = swiglu(x[tokens], weights.up[expert], weights.down[expert])
        out = out.index_add(0, tokens, y * chosen[tokens, k, None].to(y.dtype))
    return out


def local_experts(received: autograd.Received, weights: Weights) -> Tensor:
    """The experts of this rank, each on a block of its rows, padded as the counts say."""
    counts = received.num_tokens_per_expert
    rows, k = (received.topk_idx >= 0).nonzero(as_tuple=True)
    expert = received.topk_idx[rows, k]
    order = expert.argsort(stable=True)
    rows, k, expert = rows[order], k[order], expert[order]
    exact = expert.bincount(minlength=len(counts))
    gaps = (torch.tensor(counts) - exact).cumsum(0)
    before = torch.cat([torch.zeros(1, dtype=torch.int64), gaps[:-1]])
    places = torch.arange(len(rows)) + before[expert]
    padded = received.x.new_zeros(sum(counts), received.x.shape[1])
    blocks = torch.split(padded.index_copy(0, places, received.x[rows]), counts)
    y = torch.cat(
        [swiglu(b, up, down) for b, up, down in zip(blocks, weights.up, weights.down, strict=True)]
    )
    chosen = received.topk_weights[rows, k, None].to(y.dtype)
    return torch.zeros_like(received.x).index_add(0, rows, y[places] * chosen)


def shared_layer(
    spec: MoeSpec, buffer: Buffer, x: Tensor, weights: Weights, dropped: Tensor
) -> Tensor:
    """The same layer with experts on the ranks of a Buffer."""

    def experts(received: autograd.Received) -> Tensor:
        if spec.idle_experts_skip and not len(received.x):
            return torch.zeros_like(received.x).detach()
        return local_experts(received, weights)

    def layer(x: Tensor, router: Tensor) -> Tensor:
        idx, chosen = route(spec, x, router, dropped)
        received = autograd.dispatch(
            buffer, x, idx, chosen, spec.num_experts, expert_alignment=spec.alignment
        )
        assert not any(count % spec.alignment for count in received.num_tokens_per_expert)
        if spec.recompute == "experts":
            y = recomputed(lambda: experts(received))
        else:
            y = experts(received)
        return autograd.combine(y, received.handle)

    if spec.recompute == "layer":
        return recomputed(lambda: layer(x, weights.router))
    if spec.recompute == "reentrant layer":
        out: Tensor = checkpoint(layer, x, weights.router, use_reentrant=True)
        return out
    return layer(x, weights.router)


def recomputed(function: Callable[[], Tensor]) -> Tensor:
    """Run again in the backward pass instead of keeping what it makes."""
    out: Tensor = checkpoint(function, use_reentrant=False)
    return out


def model(layer: Callable[[Tensor, Weights], Tensor], x: Tensor, stack: list[Weights]) -> Tensor:
    """The layers, each beside a way around it."""
    for weights in stack:
        x = x + layer(x, weights)
    return x
