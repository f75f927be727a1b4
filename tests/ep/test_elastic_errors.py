"""What a caller does wrong with an ``ElasticBuffer``: a typed error, on every rank, and an
ElasticBuffer that works afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ep.elastic_cases import ElasticCase, ElasticSpec, check_elastic, elastic_of
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World

from crossdock.ep import EPHandle
from crossdock.proxy.errors import (
    ArgumentError,
    CapacityError,
    CrossdockError,
    MismatchError,
    PeerArgumentError,
)

Arguments = dict[str, Any]
Wrong = tuple[Callable[[Arguments], Arguments], type[CrossdockError], str]
SPEC = ElasticSpec((5, 6, 7), hidden=128, expand=True, alignment=8)
pool = pool_of(World((0, 0, 1), "shm"))


def raised(call: Callable[[], object]) -> CrossdockError:
    with pytest.raises(CrossdockError) as caught:
        call()
    return caught.value


# What rank 1 does to its arguments, and what it is told.
WRONG_DISPATCHES: dict[str, Wrong] = {
    "no experts": (
        lambda a: {"num_experts": None},
        ArgumentError,
        "topk_idx and num_experts are needed",
    ),
    "experts that cannot be shared": (
        lambda a: {"num_experts": 13},
        ArgumentError,
        "num_experts is 13, but must be a positive multiple of 3 ranks",
    ),
    "an expert twice": (
        lambda a: {"topk_idx": torch.tensor([[1, 2, 1]] * 6)},
        ArgumentError,
        r"topk_idx names an expert twice for token 0: \[1, 2, 1\]",
    ),
    "more tokens than said": (
        lambda a: {"num_max_tokens_per_rank": 5},
        CapacityError,
        "x has 6 tokens, but num_max_tokens_per_rank is 5",
    ),
    "no most tokens": (
        lambda a: {"num_max_tokens_per_rank": None},
        ArgumentError,
        "num_max_tokens_per_rank is 0, but must be positive; pass it here or to the constructor",
    ),
    "most tokens beyond 31 bits": (
        lambda a: {"num_max_tokens_per_rank": 1 << 30},
        CapacityError,
        "num_max_tokens_per_rank is 1073741824, the limit with 3 ranks is 715827882",
    ),
    "weights of other tokens": (
        lambda a: {"topk_weights": torch.zeros(5, 3)},
        ArgumentError,
        r"topk_weights has shape \[5, 3\], but must have \[6, 3\]",
    ),
    "statistics in int64": (
        lambda a: {"cumulative_local_expert_recv_stats": torch.zeros(4, dtype=torch.int64)},
        ArgumentError,
        "cumulative_local_expert_recv_stats is torch.int64",
    ),
    "alignment of 0": (
        lambda a: {"expert_alignment": 0},
        ArgumentError,
        "expert_alignment is 0, but must be positive",
    ),
    "padding of nothing": (
        lambda a: {"do_zero_padding": True, "do_expand": False},
        ArgumentError,
        "do_zero_padding is an option of do_expand=True",
    ),
    "no event": (
        lambda a: {"previous_event": "now"},
        ArgumentError,
        "previous_event is a str",
    ),
    "x in float32": (lambda a: {"x": a["x"].float()}, ArgumentError, "x is torch.float32"),
}


def dispatch_wrongly(seat: Seat, name: str) -> None:
    change, error, message = WRONG_DISPATCHES[name]
    arguments = ElasticCase(SPEC, 3).arguments(seat.rank) | {"do_expand": True}
    buffer = elastic_of(seat)
    if seat.rank == 1:
        with pytest.raises(error, match=message):
            buffer.dispatch(**(arguments | change(arguments)))
    else:
        told = raised(lambda: buffer.dispatch(**arguments))
        assert isinstance(told, PeerArgumentError), told
        assert f"rank {seat.rank}: dispatch: rank 1 refused its arguments" in str(told)
    check_elastic(seat, SPEC)


@pytest.mark.parametrize("name", WRONG_DISPATCHES)
def test_a_wrong_dispatch_is_refused_on_every_rank(pool: RankPool, name: str) -> None:
    pool.check(dispatch_wrongly, name)


def dispatched(seat: Seat, multiple: bool = True, **more: Any) -> tuple[torch.Tensor, EPHandle]:
    arguments = ElasticCase(SPEC, 3).arguments(seat.rank)
    x, _, _, handle, _ = elastic_of(seat, multiple).dispatch(**(arguments | more))
    assert isinstance(x, torch.Tensor)
    return x, handle


WRONG_CACHED: dict[str, tuple[Arguments, str]] = {
    "with indices": ({"topk_idx": torch.zeros(6, 3, dtype=torch.int64)}, "topk_idx is given, but"),
    "with CPU sync": ({"do_cpu_sync": True}, "do_cpu_sync is True, but with a handle"),
    "expanded": ({"do_expand": True}, "the handle is of a dispatch without"),
    "other experts": ({"num_experts": 24}, "num_experts is 24, but 12 in the handle"),
    "other alignment": ({"expert_alignment": 4}, "expert_alignment is 4, but 8 in the handle"),
    "other tokens": ({"x": torch.zeros(5, 128).bfloat16()}, "x has 5 tokens, but the handle is of"),
    "other weights": ({"topk_weights": torch.zeros(6, 2)}, r"topk_weights has shape \[6, 2\]"),
    "no handle": ({"handle": 3}, "handle is a int; pass the handle of a dispatch"),
}


def cache_wrongly(seat: Seat, name: str) -> None:
    change, message = WRONG_CACHED[name]
    _, handle = dispatched(seat)
    arguments: Arguments = {"x": ElasticCase(SPEC, 3).x[seat.rank], "handle": handle}
    if seat.rank == 1:
        with pytest.raises(ArgumentError, match=message):
            elastic_of(seat).dispatch(**(arguments | change))
    else:
        told = raised(lambda: elastic_of(seat).dispatch(**arguments))
        assert isinstance(told, PeerArgumentError), told
    check_elastic(seat, SPEC)


@pytest.mark.parametrize("name", WRONG_CACHED)
def test_a_wrong_cached_dispatch_is_refused_on_every_rank(pool: RankPool, name: str) -> None:
    pool.check(cache_wrongly, name)


WRONG_COMBINES: dict[str, tuple[Callable[[torch.Tensor], Arguments], str]] = {
    "too few rows": (lambda y: {"x": y[:1]}, r"x has 1 rows, but the dispatch gave \d+"),
    "x in float32": (lambda y: {"x": y.float()}, "x is torch.float32"),
    "weights by choice": (
        lambda y: {"topk_weights": torch.zeros(len(y), 3)},
        r"topk_weights has shape \[\d+, 3\], but must have \[any\]",
    ),
    "too few weights": (
        lambda y: {"topk_weights": torch.zeros(1)},
        "topk_weights has 1 rows, but the dispatch gave",
    ),
    "bias of other tokens": (
        lambda y: {"bias": torch.zeros(5, 128, dtype=torch.bfloat16)},
        r"bias has shape \[5, 128\], but must have \[6, 128\]",
    ),
    "handle of the normal mode": (lambda y: {"handle": None}, "handle is a NoneType"),
    "no event": (lambda y: {"previous_event_before_epilogue": 1}, "previous_event is a int"),
}


def combine_wrongly(seat: Seat, name: str, multiple: bool) -> None:
    change, message = WRONG_COMBINES[name]
    buffer = elastic_of(seat, multiple)
    x, handle = dispatched(seat, multiple, do_expand=True)
    arguments: Arguments = {"x": x, "handle": handle}
    if seat.rank == 1:
        with pytest.raises(CrossdockError, match=message):
            buffer.combine(**(arguments | change(x)))
    else:
        assert isinstance(raised(lambda: buffer.combine(**arguments)), PeerArgumentError)
    first, again = buffer.combine(**arguments)[0], buffer.combine(**arguments)[0]
    assert torch.equal(first, again)


@pytest.mark.parametrize("multiple", [True, False], ids=["multiple", "single"])
@pytest.mark.parametrize("name", WRONG_COMBINES)
def test_a_wrong_combine_is_refused_on_every_rank(
    pool: RankPool, name: str, multiple: bool
) -> None:
    pool.check(combine_wrongly, name, multiple)


def differ_in_most_tokens(seat: Seat) -> None:
    """Rank 1 thinks that nobody has more than 6 tokens; rank 2 has 7."""
    arguments = ElasticCase(SPEC, 3).arguments(seat.rank)
    arguments["topk_idx"] = torch.tensor([[4, 5, 0]] * len(arguments["topk_idx"]))
    if seat.rank == 1:
        told = raised(
            lambda: elastic_of(seat).dispatch(**(arguments | {"num_max_tokens_per_rank": 6}))
        )
        assert isinstance(told, MismatchError), told
        assert "num_max_tokens_per_rank is 6 here, but a rank sent its token 6" in str(told)
    else:
        elastic_of(seat).dispatch(**arguments)
    check_elastic(seat, SPEC)


def test_a_rank_with_more_tokens_than_agreed_is_noticed(pool: RankPool) -> None:
    pool.check(differ_in_most_tokens)
