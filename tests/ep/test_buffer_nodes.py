"""The normal mode between nodes: one copy of a token to each, whatever their sizes are."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.normal_cases import (
    NormalCase,
    NormalSpec,
    check_dispatch,
    check_normal,
    normal_specs,
)
from tests.ep.pool import DRAWN, RankPool, Seat, pool_of
from tests.ep.worlds import World
from tests.harness import RankContext, run_ranks
from tests.networks import NETWORK

from crossdock.ep import Buffer

WORLDS = [
    World((0, 1), "auto"),
    World((0, 1, 2), NETWORK, 1),
    World((0, 0, 1), "auto", 2),
    World((0, 1, 0, 1), "auto"),  # ranks of a node need not be neighbours
    World((0, 1, 2, 3), "auto"),
    World((0, 1, 1, 1), "shm", 1),
    World((0, 0, 0, 1, 1, 2, 3, 3), "auto"),
    World((0, 1, 1, 1, 1, 1, 1, 2), "shm"),
]

pool = pool_of(*WORLDS)


@settings(DRAWN, max_examples=12)
@given(data=st.data())
def test_every_format_and_option_equals_the_reference(pool: RankPool, data: st.DataObject) -> None:
    pool.check(check_normal, data.draw(normal_specs(pool.world.size)))


def test_one_rank_has_all_tokens(pool: RankPool) -> None:
    size = pool.world.size
    spec = NormalSpec(tokens=(0,) * (size - 1) + (80,), internode_names=True, biases=1)
    pool.check(check_normal, spec)


def test_a_thousand_tokens(pool: RankPool) -> None:
    size = pool.world.size
    spec = NormalSpec(tokens=(1200 // size,) * size, hidden=72, topk=8, masked=0.1)
    pool.check(check_normal, spec)


def rows_forwarded(seat: Seat, spec: NormalSpec) -> int:
    """Rows that came to this rank as a gateway."""
    case = NormalCase(spec, seat.world.nodes)
    handle, _ = check_dispatch(seat, case)
    return int(handle.native.num_forwarded)


def test_a_token_travels_once_to_each_node(pool: RankPool) -> None:
    """Every token goes to every rank, and yet a node gets it once."""
    size = pool.world.size
    spec = NormalSpec(tokens=(7,) * size, local_experts=1, topk=size)
    forwarded = pool.check(rows_forwarded, spec)
    nodes = pool.world.nodes
    strangers = sum(7 for node in set(nodes) for other in nodes if other != node)
    assert sum(forwarded) == strangers


def nodes_seen(rank: RankContext, world: World) -> tuple[int, ...]:
    """As the communicator numbers them, with options from the environment."""
    os.environ["CROSSDOCK_NODE"] = "left" if world.nodes[rank.rank] else "right"
    buffer = Buffer(rank.exchange())
    nodes = buffer.communicator.node_of
    buffer.destroy()
    return nodes


def test_the_environment_names_the_node() -> None:
    assert run_ranks(nodes_seen, 3, World((0, 1, 1))) == [(0, 1, 1)] * 3
