"""A mixture-of-experts model that is trained through dispatch and combine equals the dense one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.ep.moe import MoeSpec, Weights, dense_layer, inputs, model, shared_layer
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World, on_one_node
from tests.networks import NETWORK
from torch import Tensor

WORLDS = [
    on_one_node(2, "shm"),
    on_one_node(4, NETWORK, 2),
    World((0, 0, 1, 1), "shm"),
]
LIMIT = 1e-6

pool = pool_of(*WORLDS)


def share(tensor: Tensor, spec: MoeSpec, rank: int) -> Tensor:
    """The part of the experts of a rank."""
    return tensor[rank * spec.local_experts : (rank + 1) * spec.local_experts]


def loss_of(out: Tensor, target: Tensor, spec: MoeSpec) -> Tensor:
    """The share of these tokens in the mean squared error of all."""
    return (out.float() - target).square().sum() / (sum(spec.tokens) * spec.hidden) * 4


def build(seat: Seat, spec: MoeSpec) -> list[Weights]:
    first = seat.rank * spec.local_experts
    mine = slice(first, first + spec.local_experts)
    return [Weights.draw(spec, layer).on(mine, spec.dtype) for layer in range(spec.layers)]


def shared_model(seat: Seat, spec: MoeSpec, x: Tensor, stack: list[Weights]) -> Tensor:
    dropped = inputs(spec)[2][seat.rank]
    return model(lambda h, w: shared_layer(spec, seat.buffer, h, w, dropped), x, stack)


def forward_and_backward(seat: Seat, spec: MoeSpec) -> list[Tensor]:
    """The output, and the gradients of x, then of router, up and down of each layer."""
    x, target, _ = (tensors[seat.rank] for tensors in inputs(spec))
    x.requires_grad_()
    stack = build(seat, spec)
    out = shared_model(seat, spec, x, stack)
    torch.autograd.backward(loss_of(out, target, spec))
    leaves = [x, *(leaf for weights in stack for leaf in weights.all())]
    return [out.detach().clone(), *(gradient(leaf).clone() for leaf in leaves)]


def gradient(leaf: Tensor) -> Tensor:
    """Experts that a rank never ran have none."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def dense(spec: MoeSpec, dtype: torch.dtype) -> list[Tensor]:
    """The same of all ranks together, on one process."""
    exact = dataclasses.replace(spec, dtype=dtype)
    x, target, dropped = (torch.cat(tensors) for tensors in inputs(spec))
    x = x.to(dtype).requires_grad_()
    stack = [Weights.draw(spec, layer).on(slice(None), dtype) for layer in range(spec.layers)]
    out = model(lambda h, w: dense_layer(exact, h, w, dropped), x, stack)
    torch.autograd.backward(loss_of(out, target, spec))
    return [out, *(gradient(leaf) for leaf in (x, *(t for w in stack for t in w.all())))]


def difference(mine: Tensor, want: Tensor) -> float:
    """The largest, in units of the largest value."""
    assert mine.shape == want.shape
    if not want.numel():
        return 0.0
    largest = float(want.detach().abs().max())
    return float((mine.double() - want.detach().double()).abs().max()) / max(largest, 1e-3)


def compare(pool: RankPool, spec: MoeSpec, dtype: torch.dtype = torch.float32) -> list[float]:
    """How far the output and each gradient are from the dense ones."""
    ranks = pool.check(forward_and_backward, spec)
    out, of_x, *of_weights = dense(spec, dtype)
    found = [
        difference(torch.cat([rank[i] for rank in ranks]), w) for i, w in ((0, out), (1, of_x))
    ]
    for i, want in enumerate(of_weights):
        parts = [rank[2 + i] for rank in ranks]
        # A router is on every rank and its gradients add up; an expert is on one, and its gradient
        # has come from all.
        whole = torch.stack(parts).sum(0) if i % 3 == 0 else torch.cat(parts)
        found.append(difference(whole, want))
    return found


def some_tokens(pool: RankPool) -> tuple[int, ...]:
    return tuple(31 + 6 * rank for rank in range(pool.world.size))


SPECS = {
    "one layer": {},
    "two layers": {"layers": 2},
    "tokens without an expert": {"dropped": 0.5},
    "blocks of experts": {"alignment": 16},
    "one choice": {"topk": 1},
    "a layer recomputed": {"layers": 2, "recompute": "layer"},
    "a layer recomputed by reentry": {"layers": 2, "recompute": "reentrant layer"},
    "experts recomputed": {"layers": 2, "recompute": "experts"},
}


@pytest.mark.parametrize("name", SPECS)
def test_output_and_gradients_are_those_of_the_dense_model(pool: RankPool, name: str) -> None:
    spec = MoeSpec(some_tokens(pool), **SPECS[name])  # type: ignore[arg-type]
    found = compare(pool, spec)
    assert max(found) <= LIMIT, found


def test_a_rank_without_tokens(pool: RankPool) -> None:
    tokens = (0, *some_tokens(pool)[1:])
    found = compare(pool, MoeSpec(tokens, layers=2))
    assert max(found) <= LIMIT, found


@pytest.mark.parametrize("skip", [False, True], ids=["empty product", "nothing computed"])
def test_ranks_to_which_nothing_comes(pool: RankPool, skip: bool) -> None:
    spec = MoeSpec(some_tokens(pool), layers=2, only_expert=1, idle_experts_skip=skip)
    found = compare(pool, spec)
    assert max(found) <= LIMIT, found


def test_no_token_has_an_expert(pool: RankPool) -> None:
    spec = MoeSpec(some_tokens(pool), dropped=1.1, idle_experts_skip=True)
    found = compare(pool, spec)
    assert max(found) <= LIMIT, found


def test_bf16_is_as_near_as_bf16_can_be(pool: RankPool) -> None:
    found = compare(pool, MoeSpec(some_tokens(pool), dtype=torch.bfloat16))
    assert max(found) <= 0.05, found


# ---- training -----------------------------------------------------------------------------------

STEPS, RATE = 10, 0.1


def train(seat: Seat, spec: MoeSpec, name: str) -> list[float]:
    """The loss of this rank's tokens in each step."""
    x, target, _ = (tensors[seat.rank] for tensors in inputs(spec))
    stack = build(seat, spec)
    losses = []
    for step in range(STEPS):
        loss = loss_of(shared_model(seat, spec, x, stack), target, spec)
        torch.autograd.backward(loss)
        losses.append(loss.item())
        for layer, weights in enumerate(stack):
            add_up(seat, gradient(weights.router), f"{name}-{step}-{layer}")
            descend(weights)
    return losses


def add_up(seat: Seat, grad: Tensor, name: str) -> None:
    """Sum over ranks in place."""
    exchange = seat.context.exchange(name)
    everyone = exchange.all_gather(grad.numpy().tobytes(), 20)
    parts = [torch.frombuffer(bytearray(part), dtype=grad.dtype) for part in everyone]
    grad.copy_(torch.stack(parts).sum(0).view_as(grad))


def descend(weights: Weights) -> None:
    for leaf in weights.all():
        with torch.no_grad():
            leaf -= RATE * gradient(leaf)
        leaf.grad = None


def dense_losses(spec: MoeSpec) -> list[float]:
    x, target, dropped = (torch.cat(tensors) for tensors in inputs(spec))
    stack = [Weights.draw(spec, layer) for layer in range(spec.layers)]
    losses = []
    for _ in range(STEPS):
        loss = loss_of(model(lambda h, w: dense_layer(spec, h, w, dropped), x, stack), target, spec)
        torch.autograd.backward(loss)
        losses.append(loss.item())
        for weights in stack:
            descend(weights)
    return losses


@pytest.mark.parametrize("recompute", ["nothing", "layer"])
def test_losses_of_training_are_those_of_the_dense_model(pool: RankPool, recompute: str) -> None:
    spec = MoeSpec(some_tokens(pool), layers=2, recompute=recompute)  # type: ignore[arg-type]
    losses = [sum(step) for step in zip(*pool.check(train, spec, recompute), strict=True)]
    want = dense_losses(spec)
    assert want[-1] < 0.8 * want[0], want
    assert losses == pytest.approx(want, rel=LIMIT), list(zip(losses, want, strict=True))
