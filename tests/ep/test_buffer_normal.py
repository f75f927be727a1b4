"""The normal mode equals the reference: shapes, formats and routings are drawn, many to a world."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.normal_cases import NormalSpec, check_normal, normal_specs
from tests.ep.pool import DRAWN, RankPool, pool_of
from tests.ep.worlds import on_one_node
from tests.networks import NETWORK

WORLDS = [
    on_one_node(1, "shm"),
    on_one_node(2, "shm", 1),
    on_one_node(3, NETWORK, 2),
    on_one_node(4, "auto"),
    on_one_node(8, "shm"),
]

pool = pool_of(*WORLDS)


@settings(DRAWN, max_examples=20)
@given(data=st.data())
def test_every_format_and_option_equals_the_reference(pool: RankPool, data: st.DataObject) -> None:
    pool.check(check_normal, data.draw(normal_specs(pool.world.size)))


def test_rows_in_float32_keep_every_bit(pool: RankPool) -> None:
    tokens = tuple(50 + rank for rank in range(pool.world.size))
    pool.check(check_normal, NormalSpec(tokens=tokens, hidden=132, kind="float32 rows", biases=2))


def test_no_rank_has_tokens(pool: RankPool) -> None:
    pool.check(check_normal, NormalSpec(tokens=(0,) * pool.world.size, biases=2))


def test_one_rank_has_all_tokens(pool: RankPool) -> None:
    pool.check(check_normal, NormalSpec(tokens=(90,) + (0,) * (pool.world.size - 1), hidden=24))


def test_widest_rows_and_most_choices(pool: RankPool) -> None:
    size = pool.world.size
    pool.check(check_normal, NormalSpec(tokens=(9,) * size, hidden=8184, topk=32, local_experts=40))


def test_thousands_of_tokens(pool: RankPool) -> None:
    size = pool.world.size
    tokens = tuple(4096 // size + 37 * rank for rank in range(size))
    pool.check(check_normal, NormalSpec(tokens=tokens, hidden=136, topk=8, masked=0.1))
