"""The normal mode by the kernels of a GPU, run by Triton's interpreter against real rings and
proxies, equals the reference in every bit; beside ranks that run it on the CPU, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.inputs import choices, same
from tests.ep.normal_cases import NormalCase, NormalSpec, check_normal
from tests.ep.pool import DRAWN, RankPool, Seat
from tests.ep.worlds import INTERPRETED, World, built, on_one_node
from tests.harness import RankContext, run_ranks
from tests.networks import NETWORK

from crossdock.ep import reference
from crossdock.proxy.errors import ArgumentError, CapacityError

# With so many bytes for rows that ranks write to each other by themselves.
PLACES = [
    (on_one_node(2, "shm", 0), 0),
    (on_one_node(3, NETWORK, 1), 0),
    (on_one_node(3, NETWORK, 1), 1 << 20),
]


def _name(place: tuple[World, int]) -> str:
    return f"{place[0]}{'-inbox' if place[1] else ''}"


@pytest.fixture(scope="module", params=PLACES, ids=_name)
def pool(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    world, inbox = request.param
    with RankPool(world, device="interpreter", inbox_bytes=inbox, ring_slots=16) as ranks:
        yield ranks


def check_by_kernels(seat: Seat, spec: NormalSpec) -> None:
    assert seat.buffer._gpu is not None
    assert seat.buffer._gpu.normal is not None, "the host would do it"
    check_normal(seat, spec)


@st.composite
def specs(draw: st.DrawFn, size: int) -> NormalSpec:
    """Small ones: the interpreter takes its time for each program."""
    kind = draw(st.sampled_from(["bf16", "float32 rows", "float32", "int32"]))
    step = {"bf16": 8, "float32 rows": 4}.get(kind, 16)
    return NormalSpec(
        tokens=tuple(draw(st.integers(0, 4)) for _ in range(size)),
        hidden=step * draw(st.integers(16 // step, 24) | st.just(2 * 1024 // step)),
        kind=kind,
        num_scales=draw(st.integers(1, 9)),
        column_major=draw(st.booleans()),
        alignment=draw(st.sampled_from([1, 8])),
        spare_rows=draw(st.none() | st.sampled_from([0, 3])),
        weights_back=draw(st.booleans()),
        biases=draw(st.integers(0, 2)),
        asynchronous=draw(st.booleans()),
        **choices(draw),
    )


@settings(DRAWN, max_examples=3)
@given(data=st.data())
def test_every_format_and_option_equals_the_reference(pool: RankPool, data: st.DataObject) -> None:
    pool.check(check_by_kernels, data.draw(specs(pool.world.size)))


def test_rows_and_biases_in_bf16(pool: RankPool) -> None:
    tokens = (5, 3, 4)[: pool.world.size]
    pool.check(check_by_kernels, NormalSpec(tokens=tokens, hidden=72, masked=0.3, biases=2))


def test_rows_beyond_what_comes_are_padding(pool: RankPool) -> None:
    tokens = (2, 5, 0)[: pool.world.size]
    spec = NormalSpec(tokens=tokens, kind="float32", num_scales=5, column_major=True, spare_rows=2)
    pool.check(check_by_kernels, spec)


def test_a_rank_alone() -> None:
    with RankPool(on_one_node(1, "shm", 1), device="interpreter") as alone:
        alone.check(check_by_kernels, NormalSpec((5,), 72, masked=0.3, biases=2, spare_rows=1))


def test_no_rank_has_tokens(pool: RankPool) -> None:
    pool.check(check_by_kernels, NormalSpec(tokens=(0,) * pool.world.size, biases=1))


# ---- among others -------------------------------------------------------------------------------

MIXED = on_one_node(2, "shm", 1)


def beside_the_cpu(rank: RankContext, kernels_on: int) -> None:
    """One rank writes and reads the messages of the other, whoever made them."""
    torch.set_num_threads(1)
    device = "interpreter" if rank.rank == kernels_on else "cpu"
    with built(rank, MIXED, device=device) as buffer:
        assert (buffer._gpu is not None) == (rank.rank == kernels_on)
        seat = Seat(rank, MIXED, buffer)
        check_normal(seat, NormalSpec((4, 3), 80, masked=0.2, biases=1))
        check_normal(seat, NormalSpec((0, 5), 64, kind="int32", spare_rows=1, asynchronous=True))


@pytest.mark.parametrize("kernels_on", [0, 1])
def test_ranks_with_and_without_a_gpu_understand_each_other(kernels_on: int) -> None:
    run_ranks(beside_the_cpu, 2, kernels_on, environment=INTERPRETED)


def test_between_nodes_the_host_does_the_work() -> None:
    with RankPool(World((0, 1), "shm", 1), device="interpreter") as ranks:
        ranks.check(by_the_host, NormalSpec((3, 2), masked=0.2, biases=1))


def by_the_host(seat: Seat, spec: NormalSpec) -> None:
    assert seat.buffer._gpu is not None
    assert seat.buffer._gpu.normal is None
    check_normal(seat, spec)


# ---- graphs -------------------------------------------------------------------------------------


def as_if_captured(seat: Seat, spec: NormalSpec) -> None:
    """The host waits for nothing and allocates nothing, once the call was made before."""
    assert seat.buffer._gpu is not None
    case = NormalCase(spec, seat.world.nodes)
    arguments = case.arguments(seat.rank) | {"num_worst_tokens": case.worst}
    outputs = case.outputs()
    want = reference.combine(outputs, case.want)[seat.rank].combined_x

    def call() -> tuple[torch.Tensor, torch.Tensor, Any]:
        x, *_, handle, _ = seat.buffer.dispatch(**arguments)
        combined, _, _ = seat.buffer.combine(outputs[seat.rank], handle)
        assert isinstance(x, torch.Tensor)
        return x, combined, handle

    def forbidden(*_: object) -> None:
        raise AssertionError("the host waits, or allocates")

    call()
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(seat.buffer._gpu.platform, "is_capturing", lambda: True)
        patch.setattr(seat.buffer.communicator, "allocate", forbidden)
        # On a GPU it does not look at these; here it would, without having to wait.
        patch.setattr("crossdock.ep.normal_arguments._expect_ranks", lambda *_: None)
        patch.setattr("crossdock.ep.normal_arguments._expect_counts", lambda *_: None)
        for name in ("tolist", "item"):
            patch.setattr(torch.Tensor, name, forbidden)
        x, combined, handle = call()
        patch.undo()
        patch.setattr(seat.buffer._gpu.platform, "is_capturing", lambda: True)
        with pytest.raises(ArgumentError, match="pass num_worst_tokens"):
            seat.buffer.dispatch(**arguments | {"num_worst_tokens": 0})
        with pytest.raises(CapacityError, match="make the call once before it is captured"):
            seat.buffer.dispatch(**arguments | {"num_worst_tokens": 10_000})
    sources = case.want[seat.rank].source_rank
    counts = torch.bincount(sources[sources >= 0], minlength=seat.world.size)
    assert handle.first_row == [0, *counts.cumsum(0).tolist()]
    real = handle.first_row[-1]
    assert same(x[:real], case.want[seat.rank].recv_x[:real])
    assert same(combined, want)
    check_normal(seat, spec)


def test_a_call_with_room_for_the_worst_case_can_be_captured(pool: RankPool) -> None:
    tokens = (2, 3, 1)[: pool.world.size]
    pool.check(as_if_captured, NormalSpec(tokens, masked=0.2, spare_rows=1))
