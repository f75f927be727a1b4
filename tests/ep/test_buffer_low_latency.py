"""The low-latency mode equals the reference: shapes, formats and routings are drawn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.low_latency_cases import (
    FORMATS,
    MOST_HIDDEN,
    MOST_LOCAL_EXPERTS,
    MOST_TOKENS,
    LowLatencySpec,
    check_low_latency,
    low_latency_specs,
)
from tests.ep.pool import DRAWN, RankPool, pool_of
from tests.ep.worlds import World, on_one_node
from tests.networks import NETWORK

WORLDS = [
    on_one_node(1, "shm", 1),
    on_one_node(2, NETWORK),
    World((0, 1, 1), "auto", 1),
    World((0, 0, 1, 1), "shm"),
    on_one_node(4, NETWORK, 2),
    World((0, 0, 0, 1, 1, 2, 3, 3), "auto"),
]


def room(world: World) -> tuple[int, int, int]:
    """For every spec."""
    return MOST_TOKENS, MOST_HIDDEN, MOST_LOCAL_EXPERTS * world.size


pool = pool_of(*WORLDS, room=room)


@settings(DRAWN, max_examples=20)
@given(data=st.data())
def test_every_format_and_option_equals_the_reference(pool: RankPool, data: st.DataObject) -> None:
    pool.check(check_low_latency, data.draw(low_latency_specs(pool.world.size)))


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_full_slots(pool: RankPool, form: str) -> None:
    """Every rank sends all it may, each token to as many experts as it may name."""
    size = pool.world.size
    spec = LowLatencySpec((6,) * size, 6, hidden=1024, local_experts=3, topk=32, format=form)
    pool.check(check_low_latency, spec)


def test_one_expert_gets_all(pool: RankPool) -> None:
    size = pool.world.size
    spec = LowLatencySpec((MOST_TOKENS,) * size, MOST_TOKENS, routing="one expert")
    pool.check(check_low_latency, spec)


def test_an_expert_named_twice_gets_a_token_once_and_counts_twice(pool: RankPool) -> None:
    size = pool.world.size
    spec = LowLatencySpec((5,) * size, 5, local_experts=1, topk=9, routing="any")
    pool.check(check_low_latency, spec)


def test_no_rank_has_tokens(pool: RankPool) -> None:
    pool.check(check_low_latency, LowLatencySpec((0,) * pool.world.size, 7, statistics=True))
