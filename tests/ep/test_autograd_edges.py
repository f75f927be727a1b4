"""Gradients bit by bit, and what is refused on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ep.inputs import of_many_magnitudes_in, same
from tests.ep.normal_cases import NormalCase, NormalSpec, check_normal
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World, build, on_one_node
from tests.harness import RankContext, run_ranks
from torch import Tensor

from crossdock.ep import autograd, reference
from crossdock.proxy.errors import (
    ArgumentError,
    CrossdockError,
    DestroyedError,
    PeerArgumentError,
)

pool = pool_of(on_one_node(2, "shm"), World((0, 0, 1), "shm"))


def spec_of(world: World, kind: str = "float32 rows") -> NormalSpec:
    tokens = tuple(9 + 4 * rank for rank in range(world.size))
    return NormalSpec(tokens, hidden=40, kind=kind, masked=0.3, seed=5)


def case_of(seat: Seat, kind: str = "float32 rows") -> NormalCase:
    return NormalCase(spec_of(seat.world, kind), seat.world.nodes)


def sent(
    seat: Seat, case: NormalCase, x_learns: bool = True, weights_learn: bool = True
) -> tuple[Tensor, Tensor, autograd.Received]:
    x = case.x[seat.rank].clone().requires_grad_(x_learns)
    weights = case.weights[seat.rank].clone().requires_grad_(weights_learn)
    idx = case.topk_idx[seat.rank]
    return x, weights, autograd.dispatch(seat.buffer, x, idx, weights, case.num_experts)


def raised(call: Callable[[], object]) -> CrossdockError:
    with pytest.raises(CrossdockError) as caught:
        call()
    return caught.value


# ---- bit by bit ---------------------------------------------------------------------------------


def gradient_of_dispatch(seat: Seat, kind: str) -> None:
    case = case_of(seat, kind)
    x, weights, received = sent(seat, case)
    want = case.want[seat.rank]
    assert same(received.x.detach(), want.recv_x)
    assert same(received.topk_idx, want.recv_topk_idx)
    assert same(received.topk_weights.detach(), want.recv_topk_weights)
    assert received.num_tokens_per_expert == want.num_recv_tokens_per_expert
    rows, back = case.outputs(), case.weights_of_outputs()
    torch.autograd.backward([received.x, received.topk_weights], [rows[seat.rank], back[seat.rank]])
    # Of a weight that is not here, what came does not depend.
    here = [
        weight.masked_fill(one.recv_topk_idx < 0, 0.0)
        for weight, one in zip(back, case.want, strict=True)
        if one.recv_topk_idx is not None
    ]
    combined = reference.combine(rows, case.want, here, node_of=seat.world.nodes)[seat.rank]
    assert x.grad is not None
    assert weights.grad is not None
    assert same(x.grad, combined.combined_x)
    assert same(weights.grad, combined.combined_topk_weights)


def gradient_of_combine(seat: Seat, kind: str) -> None:
    case = case_of(seat, kind)
    _, _, received = sent(seat, case)
    outputs, spare = case.outputs(), 3
    rows = torch.nn.functional.pad(outputs[seat.rank], (0, 0, 0, spare)).requires_grad_()
    out = autograd.combine(rows, received.handle)
    want = reference.combine(outputs, case.want, node_of=seat.world.nodes)[seat.rank]
    assert same(out.detach(), want.combined_x)
    grads = case.payload()[0]
    # A gradient that is not contiguous.
    given = grads[seat.rank].t().contiguous().t()
    torch.autograd.backward([out], [given])
    there = reference.dispatch(grads, case.topk_idx, None, case.num_experts)[seat.rank]
    assert rows.grad is not None
    assert same(rows.grad[: len(there.recv_x)], there.recv_x)
    assert not rows.grad[len(there.recv_x) :].any()


@pytest.mark.parametrize("kind", ["float32 rows", "bf16"])
@pytest.mark.parametrize("check", [gradient_of_dispatch, gradient_of_combine])
def test_gradients_are_the_other_operation_to_the_bit(
    pool: RankPool, check: Callable[..., None], kind: str
) -> None:
    pool.check(check, kind)


def some_learn(seat: Seat, x_learns: bool, weights_learn: bool) -> None:
    x, weights, received = sent(seat, case_of(seat), x_learns, weights_learn)
    assert received.x.requires_grad == x_learns
    assert received.topk_weights.requires_grad == weights_learn
    scale = torch.ones((), dtype=torch.float32, requires_grad=True)
    rows = received.x * received.topk_weights.sum(1, keepdim=True) * scale
    torch.autograd.backward(autograd.combine(rows, received.handle).sum())
    assert scale.grad is not None
    assert (x.grad is not None) == x_learns
    assert (weights.grad is not None) == weights_learn
    assert weights.grad is None or float(weights.grad.abs().max()) > 0


@pytest.mark.parametrize("weights_learn", [False, True])
@pytest.mark.parametrize("x_learns", [False, True])
def test_what_learns_gets_a_gradient(pool: RankPool, x_learns: bool, weights_learn: bool) -> None:
    pool.check(some_learn, x_learns, weights_learn)


def twice(seat: Seat) -> None:
    x, _, received = sent(seat, case_of(seat))
    loss = autograd.combine(received.x * 2, received.handle).square().sum()
    torch.autograd.backward(loss, retain_graph=True)
    assert x.grad is not None
    once, x.grad = x.grad.clone(), None
    torch.autograd.backward(loss)
    assert same(once, x.grad)


def test_a_graph_that_is_retained_goes_back_again(pool: RankPool) -> None:
    pool.check(twice)


def changed_in_place(seat: Seat) -> None:
    x, weights, received = sent(seat, case_of(seat))
    received.x.mul_(3)
    out = autograd.combine(received.x, received.handle)
    out += x
    torch.autograd.backward(out.sum())
    reached = case_of(seat).layouts[seat.rank].is_token_in_rank.sum(1, keepdim=True)
    assert x.grad is not None
    assert same(x.grad, (3.0 * reached + 1).expand_as(x))
    with torch.no_grad():
        _, _, silent = sent(seat, case_of(seat))
        assert not autograd.combine(silent.x, silent.handle).requires_grad
    del weights


def test_results_may_be_changed_in_place(pool: RankPool) -> None:
    pool.check(changed_in_place)


def under_autocast(seat: Seat) -> None:
    case = case_of(seat)
    x = case.x[seat.rank].clone().requires_grad_()
    weights = case.weights[seat.rank].bfloat16().requires_grad_()
    expert = torch.eye(40, dtype=torch.float32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        h = torch.nn.functional.linear(x, torch.eye(40, dtype=torch.float32))
        received = autograd.dispatch(
            seat.buffer, h, case.topk_idx[seat.rank], weights, case.num_experts
        )
        y = torch.nn.functional.linear(received.x, expert)
        out = autograd.combine(
            y * received.topk_weights.sum(1)[:, None].to(y.dtype), received.handle
        )
    assert out.dtype == received.x.dtype == torch.bfloat16
    assert received.topk_weights.dtype == torch.float32
    torch.autograd.backward(out.float().sum())
    grads = (x.grad, weights.grad, expert.grad)
    assert [None if g is None else g.dtype for g in grads] == [
        torch.float32,
        torch.bfloat16,
        torch.float32,
    ]


def test_types_under_autocast(pool: RankPool) -> None:
    pool.check(under_autocast)


# ---- refusals -----------------------------------------------------------------------------------


def twice_differentiated(seat: Seat) -> None:
    x, _, received = sent(seat, case_of(seat))
    out = autograd.combine(received.x, received.handle)
    told = raised(lambda: torch.autograd.grad(out.sum(), x, create_graph=True))
    assert isinstance(told, ArgumentError)
    assert "the gradient of combine has no gradient of its own" in str(told)
    rows = received.x
    told = raised(lambda: torch.autograd.grad(rows.sum(), x, create_graph=True))
    assert "the gradient of dispatch has no gradient of its own" in str(told)
    check_normal(seat, spec_of(seat.world))


def test_a_second_derivative_is_refused(pool: RankPool) -> None:
    pool.check(twice_differentiated)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "x is a list": (lambda a: {"x": a["x"].tolist()}, "x is a list, but must be a tensor"),
    "x in float64": (lambda a: {"x": a["x"].double()}, "x is torch.float64, but must be"),
    "an expert that is not": (
        lambda a: {"topk_idx": a["topk_idx"] + 1000},
        "topk_idx holds 10",
    ),
    "no weights": (lambda a: {"topk_weights": None}, "topk_weights is a NoneType"),
    "experts that cannot be shared": (lambda a: {"num_experts": 7}, "num_experts is 7"),
}


def wrongly(seat: Seat, name: str) -> None:
    case = case_of(seat)
    arguments: dict[str, Any] = {
        "x": case.x[seat.rank].clone().requires_grad_(),
        "topk_idx": case.topk_idx[seat.rank],
        "topk_weights": case.weights[seat.rank],
        "num_experts": case.num_experts,
    }
    change, message = WRONG[name]
    if seat.rank == 1:
        arguments |= change(arguments)
    told = raised(lambda: autograd.dispatch(seat.buffer, **arguments))
    if seat.rank == 1:
        assert isinstance(told, ArgumentError), told
        assert message in str(told)
    else:
        assert isinstance(told, PeerArgumentError), told
    check_normal(seat, spec_of(seat.world))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_told_to_every_rank(pool: RankPool, name: str) -> None:
    pool.check(wrongly, name)


def combined_wrongly(seat: Seat) -> None:
    _, _, received = sent(seat, case_of(seat))
    with pytest.raises(ArgumentError, match="handle is a NoneType"):
        autograd.combine(received.x, None)  # type: ignore[arg-type]
    rows: Any = received.x if seat.rank else [1.0]
    told = raised(lambda: autograd.combine(rows, received.handle))
    assert isinstance(told, PeerArgumentError if seat.rank else ArgumentError)
    check_normal(seat, spec_of(seat.world))


def test_a_wrong_combine_is_told_to_every_rank(pool: RankPool) -> None:
    pool.check(combined_wrongly)


def destroyed(context: RankContext) -> None:
    world = on_one_node(2, "shm")
    torch.set_num_threads(1)
    seat = Seat(context, world, build(context, world))
    x, _, received = sent(seat, case_of(seat))
    out = autograd.combine(received.x, received.handle)
    x_only = received.x.sum()
    seat.buffer.destroy()
    told = raised(lambda: torch.autograd.backward(out.sum()))
    assert isinstance(told, DestroyedError)
    assert "backward of combine: rank" in str(told)
    assert "keep the Buffer until the backward pass has run" in str(told)
    told = raised(lambda: torch.autograd.backward(x_only))
    assert "backward of dispatch" in str(told)
    assert x.grad is None


def test_a_buffer_that_is_gone_before_the_way_back() -> None:
    run_ranks(destroyed, 2)


def test_magnitudes_make_the_order_of_a_sum_visible() -> None:
    rows = of_many_magnitudes_in(torch.float32, torch.Generator().manual_seed(3), 3, 4000)
    assert not torch.equal((rows[0] + rows[1]) + rows[2], rows[0] + (rows[1] + rows[2]))
