"""What a caller does wrong in the normal mode: a typed error that says the value and the limit, on
every rank, and a Buffer that works afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ep.inputs import same
from tests.ep.normal_cases import (
    NormalCase,
    NormalSpec,
    check_dispatch,
    check_normal,
)
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World

from crossdock.proxy.errors import (
    ArgumentError,
    CapacityError,
    CrossdockError,
    MismatchError,
    PeerArgumentError,
)

WORLD = World((0, 0, 1), "shm")
SPEC = NormalSpec((5, 6, 7), hidden=128)
FP8 = torch.float8_e4m3fn
Arguments = dict[str, Any]
pool = pool_of(WORLD)


def arguments_of(seat: Seat, spec: NormalSpec = SPEC) -> Arguments:
    """A dispatch that is right."""
    return NormalCase(spec, seat.world.nodes).arguments(seat.rank)


def raised(call: Callable[[], object]) -> CrossdockError:
    with pytest.raises(CrossdockError) as caught:
        call()
    return caught.value


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, not contiguous."""
    return tensor.repeat_interleave(2, 1)[:, ::2]


def changed(tensor: torch.Tensor, value: int) -> torch.Tensor:
    copy = tensor.clone()
    copy.view(-1)[-1] = value
    return copy


# ---- dispatch: one rank is wrong ----------------------------------------------------------------

# What rank 1 does to its arguments, and what it is told.
WRONG_DISPATCHES: dict[str, tuple[Callable[[Arguments], Arguments], type[Exception], str]] = {
    "x in float64": (
        lambda a: {"x": a["x"].double()},
        ArgumentError,
        "x is torch.float64, but must be torch.bfloat16 or torch.float32",
    ),
    "x elsewhere": (
        lambda a: {"x": a["x"].to("meta")},
        ArgumentError,
        "x is on meta, but this Buffer is for CPU tensors",
    ),
    "x flat": (lambda a: {"x": a["x"].flatten()}, ArgumentError, r"x has shape \[768\]"),
    "x strided": (
        lambda a: {"x": strided(a["x"])},
        ArgumentError,
        r"x has strides \(256, 2\), but must be contiguous",
    ),
    "x no tensor": (lambda a: {"x": a["x"].tolist()}, ArgumentError, "x is a list"),
    "odd rows": (
        lambda a: {"x": a["x"][:, :12].contiguous()},
        ArgumentError,
        "a row of x has 24 bytes, but must have a positive multiple of 16",
    ),
    "three in x": (lambda a: {"x": (a["x"],) * 3}, ArgumentError, "x is a tuple of 3"),
    "bf16 with scales": (
        lambda a: {"x": (a["x"], torch.ones(6, 1))},
        ArgumentError,
        r"x\[0\] is torch.bfloat16, but must be torch.float8_e4m3fn",
    ),
    "scales of another kind": (
        lambda a: {"x": (a["x"].to(FP8), torch.ones(6, 1, dtype=torch.float64))},
        ArgumentError,
        r"x\[1\] is torch.float64, but must be torch.float32 or torch.int32",
    ),
    "too few scales": (
        lambda a: {"x": (a["x"].to(FP8), torch.ones(5, 1))},
        ArgumentError,
        r"x\[1\] has shape \[5, 1\], but must have \[6, any\]",
    ),
    "no scales": (
        lambda a: {"x": (a["x"].to(FP8), torch.ones(6, 0))},
        ArgumentError,
        r"x\[1\] has no scales",
    ),
    "expert too high": (
        lambda a: {"topk_idx": changed(a["topk_idx"], 12)},
        ArgumentError,
        r"topk_idx holds 12, but must hold -1 \(none\) or 0 to 11",
    ),
    "expert too low": (
        lambda a: {"topk_idx": changed(a["topk_idx"], -2)},
        ArgumentError,
        "topk_idx holds -2",
    ),
    "ranks by bytes of 2": (
        lambda a: {"is_token_in_rank": (2 * a["is_token_in_rank"].byte()).view(torch.bool)},
        ArgumentError,
        "is_token_in_rank holds bytes that are neither 0 nor 1",
    ),
    "indices in int32": (
        lambda a: {"topk_idx": a["topk_idx"].int()},
        ArgumentError,
        "topk_idx is torch.int32, but must be torch.int64",
    ),
    "indices of fewer tokens": (
        lambda a: {"topk_idx": a["topk_idx"][:5]},
        ArgumentError,
        r"topk_idx has shape \[5, 4\], but must have \[6, any\]",
    ),
    "top-k of 33": (
        lambda a: {"topk_idx": torch.full((6, 33), -1)},
        CapacityError,
        "top-k is 33, but must be between 1 and 32",
    ),
    "weights of another shape": (
        lambda a: {"topk_weights": a["topk_weights"][:, :2]},
        ArgumentError,
        r"topk_weights has shape \[6, 2\], but must have \[6, 4\]",
    ),
    "weights in bf16": (
        lambda a: {"topk_weights": a["topk_weights"].bfloat16()},
        ArgumentError,
        "topk_weights is torch.bfloat16",
    ),
    "no indices": (lambda a: {"topk_idx": None}, ArgumentError, "topk_idx and topk_weights"),
    "no layout": (
        lambda a: {"is_token_in_rank": None},
        ArgumentError,
        "is_token_in_rank is needed; get_dispatch_layout computes it",
    ),
    "layout of other tokens": (
        lambda a: {"is_token_in_rank": a["is_token_in_rank"][1:]},
        ArgumentError,
        r"is_token_in_rank has shape \[5, 3\], but must have \[6, 3\]",
    ),
    "more tokens than announced": (
        lambda a: {"is_token_in_rank": torch.ones(6, 3, dtype=torch.bool)},
        ArgumentError,
        r"num_tokens_per_rank announces .* but is_token_in_rank counts \[6, 6, 6\]",
    ),
    "counts of ranks in int64": (
        lambda a: {"num_tokens_per_rank": a["num_tokens_per_rank"].long()},
        ArgumentError,
        "num_tokens_per_rank is torch.int64",
    ),
    "counts of another number of ranks": (
        lambda a: {"num_tokens_per_rank": a["num_tokens_per_rank"][:2]},
        ArgumentError,
        r"num_tokens_per_rank has shape \[2\], but must have \[3\]",
    ),
    "experts that cannot be shared": (
        lambda a: {"num_tokens_per_expert": torch.zeros(13, dtype=torch.int32)},
        ArgumentError,
        "num_experts is 13, but must be a positive multiple of 3 ranks",
    ),
    "1025 experts on a rank": (
        lambda a: {"num_tokens_per_expert": torch.zeros(3 * 1025, dtype=torch.int32)},
        CapacityError,
        "1025 experts on a rank, but the limit is 1024",
    ),
    "alignment of 0": (
        lambda a: {"expert_alignment": 0},
        ArgumentError,
        "expert_alignment is 0, but must be positive",
    ),
    "negative worst case": (
        lambda a: {"num_worst_tokens": -1},
        ArgumentError,
        "num_worst_tokens is -1, but must not be negative",
    ),
    "worst case too small": (
        lambda a: {"num_worst_tokens": 1},
        ArgumentError,
        r"num_worst_tokens is 1, but \d+ tokens come to this rank",
    ),
    "worst case of more rows than can be": (
        lambda a: {"num_worst_tokens": 1 << 62},
        CapacityError,
        "num_worst_tokens is 4611686018427387904, the limit is 2147483647",
    ),
    "worst case that is not whole": (
        lambda a: {"num_worst_tokens": 64.0},
        ArgumentError,
        "num_worst_tokens is 64.0, but must be a whole number",
    ),
    "scales beyond a transfer": (
        lambda a: {"x": (a["x"].to(FP8), torch.zeros(1, 1 << 22).expand(6, -1))},
        CapacityError,
        "x\\[1\\] has 4194304 scales for each token, the limit is 4194048",
    ),
    "x that is sparse": (
        lambda a: {"x": a["x"].to_sparse()},
        ArgumentError,
        "x has the layout torch.sparse_coo, but must be dense",
    ),
    "no handle": (lambda a: {"handle": "mine"}, ArgumentError, "handle is a str"),
}


def dispatch_wrongly(seat: Seat, name: str) -> None:
    change, error, message = WRONG_DISPATCHES[name]
    arguments = arguments_of(seat)
    # A cached dispatch is another call: then all have to make it.
    handle = (
        {}
        if "handle" not in change(arguments)
        else {"handle": check_dispatch(seat, NormalCase(SPEC, seat.world.nodes))[0]}
    )
    if seat.rank == 1:
        with pytest.raises(error, match=message):
            seat.buffer.dispatch(**(arguments | handle | change(arguments)))
    else:
        told = raised(lambda: seat.buffer.dispatch(**(arguments | handle)))
        assert isinstance(told, PeerArgumentError), told
        assert f"rank {seat.rank}: dispatch: rank 1 refused its arguments" in str(told)
    check_normal(seat, SPEC)


@pytest.mark.parametrize("name", WRONG_DISPATCHES)
def test_a_wrong_dispatch_is_refused_on_every_rank(pool: RankPool, name: str) -> None:
    pool.check(dispatch_wrongly, name)


# ---- ranks that disagree ------------------------------------------------------------------------

DISAGREEMENTS: dict[str, tuple[Arguments, str]] = {
    "hidden": ({"hidden": 256}, "bytes per row of x is 512 here, but 256 on rank 0"),
    "experts": ({"local_experts": 5}, "number of experts is 15 here, but 12 on rank 0"),
    "top-k": ({"topk": 3}, "top-k is 3 here, but 4 on rank 0"),
    "dtype": ({"kind": "float32"}, "bytes per row of x is 128 here, but 256 on rank 0"),
    "scales": (
        {"kind": "float32", "hidden": 256, "num_scales": 2},
        "bytes per row of scales is 8 here, but 0 on rank 0",
    ),
    "rows of equal bytes": (
        {"kind": "float32 rows", "hidden": 64},
        "bytes per element of x is 4 here, but 2 on rank 0",
    ),
}


def disagree(seat: Seat, name: str) -> None:
    changes, message = DISAGREEMENTS[name]
    other = seat.rank == 2
    arguments = arguments_of(seat, dataclasses.replace(SPEC, **changes))
    told = raised(lambda: seat.buffer.dispatch(**(arguments if other else arguments_of(seat))))
    assert isinstance(told, MismatchError), told
    assert "it must be the same on every rank" in str(told)
    if other:
        assert message in str(told)
    else:
        assert "on rank 2" in str(told)
    check_normal(seat, SPEC)


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_ranks_that_disagree_learn_what_differs(pool: RankPool, name: str) -> None:
    pool.check(disagree, name)


def combine_or_dispatch(seat: Seat) -> None:
    """One combines, the others dispatch along the same handle."""
    case = NormalCase(SPEC, seat.world.nodes)
    handle, _ = check_dispatch(seat, case)
    buffer, x = seat.buffer, case.x[seat.rank]
    if seat.rank == 0:
        told = raised(lambda: buffer.combine(case.outputs()[0], handle))
    else:
        told = raised(lambda: buffer.dispatch(x, handle=handle))
    assert isinstance(told, MismatchError), told
    assert ("call is 3 here, but 2" if seat.rank == 0 else "call is 2 here, but 3") in str(told)
    check_normal(seat, SPEC)


def test_ranks_that_call_different_things_learn_it(pool: RankPool) -> None:
    pool.check(combine_or_dispatch)


# ---- combine ------------------------------------------------------------------------------------

WRONG_COMBINES: dict[str, tuple[Callable[[torch.Tensor], Arguments], str]] = {
    "too few rows": (lambda y: {"x": y[1:]}, r"x has \d+ rows, but the dispatch gave \d+"),
    "x in float64": (lambda y: {"x": y.double()}, "x is torch.float64"),
    "bias in another type": (lambda y: {"bias": y.float()}, "bias is torch.float32"),
    "x in fp8": (lambda y: {"x": y.to(FP8)}, "x is torch.float8_e4m3fn"),
    "x strided": (lambda y: {"x": strided(y)}, "must be contiguous"),
    "x elsewhere": (lambda y: {"x": y.to("meta")}, "x is on meta"),
    "too few weights": (
        lambda y: {"topk_weights": torch.zeros(1, 4)},
        r"topk_weights has 1 rows, but the dispatch gave \d+",
    ),
    "weights of top-k 33": (
        lambda y: {"topk_weights": torch.zeros(len(y), 33)},
        "topk_weights has top-k 33, but must be between 1 and 32",
    ),
    "bias of other tokens": (
        lambda y: {"bias": torch.zeros(5, 128, dtype=torch.bfloat16)},
        r"bias has shape \[5, 128\], but must have \[6, 128\]",
    ),
    "three biases": (
        lambda y: {"bias": (y, y, y)},
        "bias is a tuple of 3, but must have at most 2",
    ),
    "no handle": (lambda y: {"handle": None}, "handle is a NoneType"),
}


def combine_wrongly(seat: Seat, name: str) -> None:
    change, message = WRONG_COMBINES[name]
    case = NormalCase(SPEC, seat.world.nodes)
    handle, _ = check_dispatch(seat, case)
    output = case.outputs()[seat.rank]
    arguments = {"x": output, "handle": handle}
    if seat.rank == 1:
        with pytest.raises((ArgumentError, CapacityError), match=message):
            seat.buffer.combine(**(arguments | change(output)))
    else:
        told = raised(lambda: seat.buffer.combine(**arguments))
        assert isinstance(told, PeerArgumentError), told
        assert "combine: rank 1 refused its arguments" in str(told)
    # The handle is as good as before.
    x, weights, _ = seat.buffer.combine(**arguments)
    assert weights is None
    assert same(seat.buffer.combine(**arguments)[0], x)
    check_normal(seat, SPEC)


@pytest.mark.parametrize("name", WRONG_COMBINES)
def test_a_wrong_combine_is_refused_on_every_rank(pool: RankPool, name: str) -> None:
    pool.check(combine_wrongly, name)


def combine_other_widths(seat: Seat) -> None:
    case = NormalCase(SPEC, seat.world.nodes)
    handle, _ = check_dispatch(seat, case)
    output = case.outputs()[seat.rank]
    odd = seat.rank == 1
    narrow = output[:, :64].contiguous() if odd else output
    told = raised(lambda: seat.buffer.combine(narrow, handle))
    assert isinstance(told, MismatchError), told
    sizes = "128 here, but 256 on rank 0" if odd else "256 here, but 128 on rank 1"
    assert f"bytes per row of x is {sizes}" in str(told)
    weights = torch.zeros(len(output), 4) if odd else None
    told = raised(lambda: seat.buffer.combine(output, handle, topk_weights=weights))
    assert isinstance(told, MismatchError), told
    counts = "4 here, but 0 on rank 0" if odd else "0 here, but 4 on rank 1"
    assert f"top-k is {counts}" in str(told)
    check_normal(seat, SPEC)


def test_a_combine_of_different_widths_is_refused(pool: RankPool) -> None:
    pool.check(combine_other_widths)


# ---- layout -------------------------------------------------------------------------------------


def wrong_layouts(seat: Seat) -> None:
    """Not collective: nobody else has to call."""
    idx = torch.zeros(3, 2, dtype=torch.int64)
    if seat.rank == 0:
        with pytest.raises(ArgumentError, match="topk_idx holds 12"):
            seat.buffer.get_dispatch_layout(idx + 12, 12)
        with pytest.raises(ArgumentError, match="num_experts is 0"):
            seat.buffer.get_dispatch_layout(idx, 0)
        with pytest.raises(ArgumentError, match=r"topk_idx has shape \[3\]"):
            seat.buffer.get_dispatch_layout(idx[:, 0], 12)
        with pytest.raises(CapacityError, match="top-k is 0"):
            seat.buffer.get_dispatch_layout(idx[:, :0], 12)
    check_normal(seat, SPEC)


def test_a_layout_of_nonsense_is_refused(pool: RankPool) -> None:
    pool.check(wrong_layouts)
