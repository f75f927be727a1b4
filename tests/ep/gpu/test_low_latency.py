"""Low latency by the kernels of a GPU, run by Triton's interpreter against real rings and proxies,
equals the reference in every bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.inputs import choices
from tests.ep.low_latency_cases import (
    FORMATS,
    STEP,
    LowLatencyCase,
    LowLatencySpec,
    check_combine,
    check_dispatch,
    check_low_latency,
)
from tests.ep.pool import DRAWN, RankPool, Seat
from tests.ep.worlds import World, on_one_node
from tests.networks import NETWORK

MOST_TOKENS, MOST_HIDDEN, MOST_LOCAL_EXPERTS = 9, 1024, 6
ROUNDS = 5  # the third waits for credits of the first

# World, and whether ranks of a node write into each other's memory.
PLACES = [
    (on_one_node(1, "shm", 1), True),
    (on_one_node(2, "shm", 1), True),
    (on_one_node(2, "shm", 0), False),
    (on_one_node(2, NETWORK, 2), False),
    (World((0, 1, 1), "auto", 1), True),
    (on_one_node(3, NETWORK, 1), False),
]


def _name(place: tuple[World, bool]) -> str:
    return f"{place[0]}-{'direct' if place[1] else 'staged'}"


@pytest.fixture(scope="module", params=PLACES, ids=_name)
def pool(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    world, peer_access = request.param
    room = (MOST_TOKENS, MOST_HIDDEN, MOST_LOCAL_EXPERTS * world.size)
    with RankPool(
        world, low_latency=room, device="interpreter", peer_access=peer_access, ring_slots=16
    ) as ranks:
        yield ranks


@st.composite
def specs(draw: st.DrawFn, size: int) -> LowLatencySpec:
    """Small ones: the interpreter takes its time for each program."""
    form = draw(st.sampled_from(sorted(FORMATS)))
    common = choices(draw)
    common["local_experts"] = min(common["local_experts"], MOST_LOCAL_EXPERTS)
    max_tokens = draw(st.integers(1, MOST_TOKENS))
    ways = st.sampled_from(["plain", "hook", "async"])
    return LowLatencySpec(
        tokens=tuple(draw(st.integers(0, max_tokens)) for _ in range(size)),
        max_tokens=max_tokens,
        hidden=STEP[form] * draw(st.integers(1, MOST_HIDDEN // max(STEP[form], 128))),
        format=form,
        dispatch_way=draw(ways),
        combine_way=draw(ways),
        returned=draw(st.sampled_from(["copied", "zero copy"])),
        into_out=draw(st.booleans()),
        statistics=draw(st.booleans()),
        **common,
    )


@settings(DRAWN, max_examples=3)
@given(data=st.data())
def test_every_format_and_option_equals_the_reference(pool: RankPool, data: st.DataObject) -> None:
    pool.check(check_low_latency, data.draw(specs(pool.world.size)))


def ready_for(seat: Seat, spec: LowLatencySpec) -> None:
    experts = spec.local_experts * len(spec.tokens)
    seat.buffer.clean_low_latency_buffer(spec.max_tokens, spec.hidden, experts)


def several_rounds(seat: Seat, spec: LowLatencySpec) -> None:
    """Without a collective between them, each called in another way than the one before."""
    ready_for(seat, spec)
    for seed in range(ROUNDS):
        ways = ("plain", "hook", "async")
        one = dataclasses.replace(
            spec,
            seed=seed,
            dispatch_way=ways[seed % 3],
            combine_way=ways[seed // 2 % 3],
            returned=("copied", "zero copy")[seed % 2],
            into_out=seed % 4 < 2,
            statistics=seed % 3 == 0,
        )
        case = LowLatencyCase(one)
        check_combine(seat.buffer, case, check_dispatch(seat.buffer, case))


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_several_rounds(pool: RankPool, form: str) -> None:
    tokens = (3, 1, 2)[: pool.world.size]
    hidden = {"bf16": 72, "fp8 ue8m0": 512}.get(form, 384)
    pool.check(several_rounds, LowLatencySpec(tokens, 3, hidden, 2, 3, masked=0.2, format=form))


def test_rows_return_in_logfmt(pool: RankPool) -> None:
    tokens = (3, 1, 2)[: pool.world.size]
    spec = LowLatencySpec(tokens, 3, 384, 2, 3, returned="logfmt", format="fp8")
    pool.check(check_low_latency, spec)


def overlapping_rounds(seat: Seat, spec: LowLatencySpec) -> None:
    """The second is dispatched before the first is combined, as engines with two batches do."""
    ready_for(seat, spec)
    cases = [LowLatencyCase(dataclasses.replace(spec, seed=seed)) for seed in range(4)]
    for first, second in (cases[:2], cases[2:]):
        handles = [check_dispatch(seat.buffer, case) for case in (first, second)]
        check_combine(seat.buffer, first, handles[0])
        check_combine(seat.buffer, second, handles[1])


def test_two_live_results(pool: RankPool) -> None:
    pool.check(overlapping_rounds, LowLatencySpec((2,) * pool.world.size, 3, 128, 1, 2))


def test_an_expert_named_twice_gets_a_token_once_and_counts_twice(pool: RankPool) -> None:
    size = pool.world.size
    spec = LowLatencySpec((4,) * size, 5, local_experts=1, topk=9, routing="any")
    pool.check(check_low_latency, spec)


@pytest.mark.parametrize("form", ["bf16", "fp8 ue8m0"])
def test_full_slots(pool: RankPool, form: str) -> None:
    """Every rank sends all it may, each token to as many experts as it may name."""
    size = pool.world.size
    spec = LowLatencySpec((4,) * size, 4, 512, 2, topk=32, routing="any", format=form)
    pool.check(check_low_latency, spec)


def test_no_rank_has_tokens(pool: RankPool) -> None:
    pool.check(check_low_latency, LowLatencySpec((0,) * pool.world.size, 7, statistics=True))
