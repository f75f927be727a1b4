"""Counts of experts that do not belong to the indices: stale, or of other tokens. Nothing would
fail by itself; other ranks would return wrong counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World

from crossdock.proxy.errors import ArgumentError, PeerArgumentError

WORLD = World((0, 0, 1), "shm")
EXPERTS = 12
# One token names an expert twice and counts there once; -1 counts nowhere.
IDX = torch.tensor([[0, 3, 3], [11, -1, 3], [0, 7, 11], [-1, -1, -1]])
RIGHT = [2, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
pool = pool_of(WORLD)


def counts(change: dict[int, int]) -> list[int]:
    return [change.get(expert, count) for expert, count in enumerate(RIGHT)]


WRONG: dict[str, tuple[list[int], str]] = {
    "too many": (counts({3: 3, 7: 0}), "announces 3 tokens for expert 3, but topk_idx has 2"),
    "too few": (counts({7: 0}), "announces 0 tokens for expert 7, but topk_idx has 1"),
    "the first": (counts({0: -1}), "announces -1 tokens for expert 0, but topk_idx has 2"),
    "the last": (counts({11: 5}), "announces 5 tokens for expert 11, but topk_idx has 2"),
    "twice in a token": (counts({3: 3}), "announces 3 tokens for expert 3, but topk_idx has 2"),
}


def call(seat: Seat, change: Callable[[torch.Tensor], torch.Tensor]) -> list[int]:
    per_rank, per_node, per_expert, in_rank, _ = seat.buffer.get_dispatch_layout(IDX, EXPERTS)
    assert per_expert.tolist() == RIGHT
    *_, received, _, _ = seat.buffer.dispatch(
        torch.ones((4, 128), dtype=torch.bfloat16),
        num_tokens_per_rank=per_rank,
        num_tokens_per_rdma_rank=per_node,
        is_token_in_rank=in_rank,
        num_tokens_per_expert=change(per_expert),
        topk_idx=IDX,
        topk_weights=torch.ones(IDX.shape),
    )
    assert received is not None
    return received


def dispatch_with(seat: Seat, name: str) -> None:
    wrong, message = WRONG[name]
    if seat.rank == 1:
        with pytest.raises(ArgumentError, match=f"num_tokens_per_expert {message}"):
            call(seat, lambda _: torch.tensor(wrong, dtype=torch.int32))
    else:
        with pytest.raises(PeerArgumentError, match="rank 1 refused its arguments"):
            call(seat, lambda right: right)
    first = 4 * seat.rank
    assert call(seat, lambda right: right) == [3 * n for n in RIGHT[first : first + 4]]
    check_normal(seat, NormalSpec((5, 6, 7), hidden=128))


@pytest.mark.parametrize("name", WRONG)
def test_counts_of_other_indices_are_refused_on_every_rank(pool: RankPool, name: str) -> None:
    pool.check(dispatch_with, name)
