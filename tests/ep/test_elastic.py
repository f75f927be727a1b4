"""``ElasticBuffer`` equals the reference: shapes, formats and layouts are drawn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.elastic_cases import ElasticSpec, check_elastic, elastic_specs
from tests.ep.pool import DRAWN, RankPool, pool_of
from tests.ep.worlds import World, on_one_node
from tests.networks import NETWORK

pool = pool_of(
    on_one_node(1, "shm"),
    on_one_node(3, NETWORK, 1),
    on_one_node(4, "shm"),
    World((0, 1, 0, 1), "auto"),
)


@settings(DRAWN, max_examples=60)
@given(data=st.data())
def test_every_format_and_option_equals_the_reference(pool: RankPool, data: st.DataObject) -> None:
    pool.check(check_elastic, data.draw(elastic_specs(pool.world.size)))


def test_no_rank_has_tokens(pool: RankPool) -> None:
    for expand in (False, True):
        spec = ElasticSpec((0,) * pool.world.size, expand=expand, kind="float32", alignment=8)
        pool.check(check_elastic, spec)


def test_some_ranks_have_no_tokens(pool: RankPool) -> None:
    for multiple in (False, True):
        tokens = (0,) * (pool.world.size - 1) + (70,)
        spec = ElasticSpec(tokens, expand=True, topk=4, alignment=128, multiple=multiple, biases=1)
        pool.check(check_elastic, spec)


def test_prefill_of_an_engine(pool: RankPool) -> None:
    tokens = tuple(300 + 11 * rank for rank in range(pool.world.size))
    pool.check(
        check_elastic,
        ElasticSpec(tokens, hidden=512, local_experts=8, topk=8, expand=True, masked=0.1),
    )


def test_decode_of_an_engine(pool: RankPool) -> None:
    spec = ElasticSpec((1, *[2] * (pool.world.size - 1)), hidden=512, cpu_sync=False, spare=6)
    pool.check(check_elastic, spec)
