"""What a caller does wrong in the low-latency mode: nothing has moved, so the rank calls again,
rightly, while the others wait for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ep.inputs import same
from tests.ep.low_latency_cases import (
    LowLatencyCase,
    LowLatencySpec,
    check_combine,
    check_dispatch,
    check_low_latency,
    combine,
    dispatch,
)
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World, built
from tests.harness import RankContext, run_ranks

from crossdock.ep.reference import low_latency_dispatch
from crossdock.proxy.errors import ArgumentError, CapacityError, MismatchError

WORLD = World((0, 0, 0), "shm")
SPEC = LowLatencySpec((5, 6, 7), 8, 256)
Arguments = dict[str, Any]
pool = pool_of(WORLD, room=lambda _: (8, 512, 12))


def arguments_of(case: LowLatencyCase, rank: int) -> Arguments:
    """A dispatch that is right."""
    return {
        "x": case.x[rank],
        "topk_idx": case.topk_idx[rank],
        "num_max_dispatch_tokens_per_rank": 8,
        "num_experts": 12,
        "use_fp8": False,
    }


Wrong = tuple[Callable[[Arguments], Arguments], type[Exception], str]
WRONG_DISPATCHES: dict[str, Wrong] = {
    "x in fp8": (
        lambda a: {"x": a["x"].to(torch.float8_e4m3fn)},
        ArgumentError,
        "x is torch.float8_e4m3fn, but must be torch.bfloat16",
    ),
    "x elsewhere": (lambda a: {"x": a["x"].to("meta")}, ArgumentError, "x is on meta"),
    "x strided": (
        lambda a: {"x": a["x"].repeat_interleave(2, 1)[:, ::2]},
        ArgumentError,
        "must be contiguous",
    ),
    "more tokens than announced": (
        lambda a: {"num_max_dispatch_tokens_per_rank": 5},
        CapacityError,
        "x has 6 tokens, but num_max_dispatch_tokens_per_rank is 5",
    ),
    "2048 tokens": (
        lambda a: {"num_max_dispatch_tokens_per_rank": 2048},
        CapacityError,
        "num_max_dispatch_tokens_per_rank is 2048, but must be between 1 and 2047",
    ),
    "no tokens": (
        lambda a: {"num_max_dispatch_tokens_per_rank": 0},
        CapacityError,
        "num_max_dispatch_tokens_per_rank is 0",
    ),
    "more than there is room for": (
        lambda a: {"num_max_dispatch_tokens_per_rank": 2047},
        CapacityError,
        r"needs \d+ bytes for 2047 tokens, hidden 256, 12 experts, but the Buffer has \d+",
    ),
    "experts that cannot be shared": (
        lambda a: {"num_experts": 13},
        ArgumentError,
        "num_experts is 13, but must be a positive multiple of 3 ranks",
    ),
    "1025 experts on a rank": (
        lambda a: {"num_experts": 3 * 1025},
        CapacityError,
        "1025 experts on a rank, but the limit is 1024",
    ),
    "expert out of range": (
        lambda a: {"topk_idx": a["topk_idx"] + 12},
        ArgumentError,
        r"topk_idx holds 23, but must hold -1 \(none\) or 0 to 11",
    ),
    "top-k of 33": (
        lambda a: {"topk_idx": torch.full((6, 33), -1)},
        CapacityError,
        "top-k is 33, but must be between 1 and 32",
    ),
    "indices in int32": (
        lambda a: {"topk_idx": a["topk_idx"].int()},
        ArgumentError,
        "topk_idx is torch.int32, but must be torch.int64",
    ),
    "fp8 of a width that has no scales": (
        lambda a: {"x": a["x"][:, :192].contiguous(), "use_fp8": True},
        ArgumentError,
        "hidden is 192, but must be a multiple of 128",
    ),
    "ue8m0 of a width that has no packs": (
        lambda a: {"use_fp8": True, "use_ue8m0": True},
        ArgumentError,
        "hidden is 256, but must be a multiple of 512",
    ),
    "rounded bf16": (
        lambda a: {"round_scale": True},
        ArgumentError,
        "round_scale and use_ue8m0 are options of use_fp8",
    ),
    "statistics in int64": (
        lambda a: {"cumulative_local_expert_recv_stats": torch.zeros(4, dtype=torch.int64)},
        ArgumentError,
        "cumulative_local_expert_recv_stats is torch.int64, but must be torch.int32",
    ),
    "waits of fewer ranks": (
        lambda a: {"dispatch_wait_recv_cost_stats": torch.zeros(2, dtype=torch.int64)},
        ArgumentError,
        r"dispatch_wait_recv_cost_stats has shape \[2\], but must have \[3\]",
    ),
}


def dispatch_wrongly(seat: Seat, name: str) -> None:
    change, error, message = WRONG_DISPATCHES[name]
    case = LowLatencyCase(SPEC)
    arguments = arguments_of(case, seat.rank)
    if seat.rank == 1:
        with pytest.raises(error, match=message):
            seat.buffer.low_latency_dispatch(**(arguments | change(arguments)))
    check_low_latency(seat, SPEC)


@pytest.mark.parametrize("name", WRONG_DISPATCHES)
def test_a_wrong_dispatch_is_refused_where_it_was_called(pool: RankPool, name: str) -> None:
    pool.check(dispatch_wrongly, name)


WRONG_COMBINES: dict[str, tuple[Callable[[Arguments], Arguments], str]] = {
    "too few rows": (
        lambda a: {"x": a["x"][:, 1:].contiguous()},
        r"x has shape \[4, 23, 256\], but must have \[4, 24, 256\]",
    ),
    "x in float32": (lambda a: {"x": a["x"].float()}, "x is torch.float32"),
    "other indices": (
        lambda a: {"topk_idx": a["topk_idx"].flip(0)},
        "topk_idx differs from that of the dispatch that made the handle",
    ),
    "indices of fewer tokens": (
        lambda a: {"topk_idx": a["topk_idx"][1:]},
        r"topk_idx has shape \[5, 4\], but must have \[6, any\]",
    ),
    "weights of another shape": (
        lambda a: {"topk_weights": a["topk_weights"][:, 1:]},
        r"topk_weights has shape \[6, 3\], but must have \[6, 4\]",
    ),
    "weights in bf16": (
        lambda a: {"topk_weights": a["topk_weights"].bfloat16()},
        "topk_weights is torch.bfloat16",
    ),
    "out of another shape": (
        lambda a: {"out": torch.empty(5, 256, dtype=torch.bfloat16)},
        r"out has shape \[5, 256\], but must have \[6, 256\]",
    ),
    "LogFMT without copy": (
        lambda a: {"use_logfmt": True, "zero_copy": True},
        "use_logfmt and zero_copy exclude each other",
    ),
    "zero-copy of another tensor": (
        lambda a: {"zero_copy": True},
        "zero_copy needs x to be the tensor that get_next_low_latency_combine_buffer",
    ),
    "no handle": (lambda a: {"handle": tuple(a["handle"])}, "handle is a tuple"),
    "waits in int32": (
        lambda a: {"combine_wait_recv_cost_stats": torch.zeros(3, dtype=torch.int32)},
        "combine_wait_recv_cost_stats is torch.int32, but must be torch.int64",
    ),
}


def combine_wrongly(seat: Seat, name: str) -> None:
    change, message = WRONG_COMBINES[name]
    case = LowLatencyCase(SPEC)
    handle = check_dispatch(seat.buffer, case)
    if seat.rank == 1:
        arguments = {
            "x": case.outputs[1],
            "topk_idx": case.topk_idx[1],
            "topk_weights": case.weights[1],
            "handle": handle,
        }
        with pytest.raises(ArgumentError, match=message):
            seat.buffer.low_latency_combine(**(arguments | change(arguments)))
    check_combine(seat.buffer, case, handle)


@pytest.mark.parametrize("name", WRONG_COMBINES)
def test_a_wrong_combine_is_refused_where_it_was_called(pool: RankPool, name: str) -> None:
    pool.check(combine_wrongly, name)


# ---- ranks that disagree ------------------------------------------------------------------------

DISAGREEMENTS: dict[str, Arguments] = {
    "hidden": {"hidden": 128},
    "experts": {"local_experts": 3},
    "top-k": {"topk": 3},
    "format": {"format": "fp8"},
    "max tokens": {"max_tokens": 7},
}


def disagree(seat: Seat, name: str) -> None:
    """The round is over on all of them, and the next one is as good as any."""
    other = dataclasses.replace(SPEC, **DISAGREEMENTS[name])
    case = LowLatencyCase(other if seat.rank == 2 else SPEC)
    with pytest.raises(MismatchError, match="must be the same on every rank") as caught:
        dispatch(seat.buffer, case)
    blamed = "on rank 0" if seat.rank == 2 else "on rank 2"
    assert blamed in str(caught.value)
    case = LowLatencyCase(SPEC)
    for _ in range(4):
        check_combine(seat.buffer, case, check_dispatch(seat.buffer, case))


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_ranks_that_disagree_learn_it_and_go_on(pool: RankPool, name: str) -> None:
    pool.check(disagree, name)


# ---- the order of calls -------------------------------------------------------------------------


def combine_too_early(seat: Seat) -> None:
    case = LowLatencyCase(SPEC)
    _, _, handle, _, hook = dispatch(seat.buffer, case, return_recv_hook=True)
    with pytest.raises(ArgumentError, match="call the hook of the dispatch before its combine"):
        combine(seat.buffer, case, handle)
    hook()
    check_combine(seat.buffer, case, handle)


def test_a_combine_before_the_hook_is_refused(pool: RankPool) -> None:
    pool.check(combine_too_early)


def ask_for_the_place_of_another_round(seat: Seat) -> None:
    """Rounds share two places: what an old handle names belongs to a later round by now."""
    case = LowLatencyCase(SPEC)
    place_of = seat.buffer.get_next_low_latency_combine_buffer
    old = check_dispatch(seat.buffer, case)
    check_combine(seat.buffer, case, old)
    with pytest.raises(ArgumentError, match="handle was combined already"):
        place_of(old)
    _, _, handle, _, hook = dispatch(seat.buffer, case, return_recv_hook=True)
    with pytest.raises(ArgumentError, match="call the hook of the dispatch"):
        place_of(handle)
    hook()
    assert place_of(handle).shape == case.outputs[0].shape
    check_combine(seat.buffer, case, handle)


def test_a_place_is_given_to_the_round_that_has_it(pool: RankPool) -> None:
    pool.check(ask_for_the_place_of_another_round)


def change_indices_before_the_hook(seat: Seat) -> None:
    """As a caller does who uses its tensors for the next layer already."""
    case = LowLatencyCase(SPEC)
    handle = check_dispatch(seat.buffer, case)
    rank = seat.rank
    idx = case.topk_idx[rank].clone()
    x, _, hook = seat.buffer.low_latency_combine(
        case.outputs[rank], idx, case.weights[rank], handle, return_recv_hook=True
    )
    idx.fill_(1 << 40)
    assert hook is not None
    hook()
    assert same(x, case.combined()[rank])


def test_indices_may_change_between_combine_and_hook(pool: RankPool) -> None:
    pool.check(change_indices_before_the_hook)


def use_logfmt_of_odd_width(seat: Seat) -> None:
    case = LowLatencyCase(LowLatencySpec((5, 6, 7), 8, 136))
    handle = check_dispatch(seat.buffer, case)
    with pytest.raises(ArgumentError, match="hidden is 136, but LogFMT needs a multiple of 128"):
        combine(seat.buffer, case, handle, use_logfmt=True)
    check_combine(seat.buffer, case, handle)


def test_logfmt_needs_whole_blocks(pool: RankPool) -> None:
    pool.check(use_logfmt_of_odd_width)


def without_the_mode(rank: RankContext) -> None:
    case = LowLatencyCase(LowLatencySpec((4, 4), 4, 64))
    with built(rank, World((0, 0), "shm"), num_rdma_bytes=1 << 20) as buffer:
        with pytest.raises(ArgumentError, match="built without low_latency_mode=True"):
            dispatch(buffer, case)
        with pytest.raises(ArgumentError, match="built without low_latency_mode=True"):
            buffer.clean_low_latency_buffer(4, 64, 8)
    with built(rank, World((0, 0), "shm"), "second", low_latency=(4, 64, 8)) as buffer:
        with pytest.raises(ArgumentError, match="built without enable_shrink=True"):
            buffer.low_latency_update_mask_buffer(0, True)
        with pytest.raises(CapacityError, match="the low-latency mode needs"):
            buffer.clean_low_latency_buffer(4, 128, 8)
        x = dispatch(buffer, case)[0]
        want = low_latency_dispatch(case.x, case.topk_idx, 4, 8, use_fp8=False)[rank.rank]
        count = int(want.recv_count[0])
        assert same(x[0, :count], want.recv_x[0, :count])


def test_what_was_not_asked_for_is_refused() -> None:
    run_ranks(without_the_mode, 2)
