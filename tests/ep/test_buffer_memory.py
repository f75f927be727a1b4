"""Sizes: what is hinted is what is allocated and what is needed, and running out is an error."""

from __future__ import annotations

import mmap
import re
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.ep.inputs import same
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_low_latency
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import World, build, built, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer, Config, _native
from crossdock.proxy import schema
from crossdock.proxy.errors import (
    ArgumentError,
    CapacityError,
    CrossdockError,
    PeerArgumentError,
)

PAIR = on_one_node(2, "shm")
MAP_NORESERVE = 0x4000  # mmap has it from Python 3.13 on


def deep_ep_bytes(tokens: int, hidden: int, ranks: int, experts: int) -> int:
    """What DeepEP asks for: two halves, each with a part to send from, a part to receive into, and
    signals."""
    dispatched = 16 + max(2 * hidden, hidden + 4 * hidden // 128)
    combined = 2 * hidden
    send = max(tokens * dispatched, experts * tokens * combined)
    receive = max(experts * tokens * dispatched, experts * tokens * combined)
    return 2 * (send + receive + 4 * experts)


def test_the_low_latency_mode_needs_no_more_than_deep_ep_at_its_shape() -> None:
    mine = Buffer.get_low_latency_rdma_size_hint(128, 7168, 8, 256)
    assert mine <= deep_ep_bytes(128, 7168, 8, 256)


@settings(deadline=None, max_examples=200)
@given(
    tokens=st.integers(1, 1024),
    hidden=st.integers(8, 64).map(lambda n: 128 * n),
    ranks=st.sampled_from([2, 8, 16, 64]),
    local=st.integers(1, 32),
)
def test_it_never_needs_more_where_there_are_many_experts(
    tokens: int, hidden: int, ranks: int, local: int
) -> None:
    """Many: more than ranks and results of a token together."""
    experts = ranks * local
    assume(experts >= ranks + 32 + 4)
    mine = Buffer.get_low_latency_rdma_size_hint(tokens, hidden, ranks, experts)
    headers = 2 * (64 * ranks + 256)
    assert mine <= deep_ep_bytes(tokens, hidden, ranks, experts) + headers


# ---- hints are exact ----------------------------------------------------------------------------


def allocated(rank: RankContext, world: World) -> tuple[int, int, int]:
    with built(rank, world, low_latency=(8, 128, 8)) as buffer:
        check_normal(Seat(rank, world, buffer), NormalSpec((5,) * world.size, local_experts=2))
        spec = LowLatencySpec((8,) * world.size, 8, 128, local_experts=8 // world.size)
        check_low_latency(Seat(rank, world, buffer), spec)
        region = buffer.communicator.region_array(0)
        return buffer.num_nvl_bytes, buffer.num_rdma_bytes, int(region.nbytes)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_region_has_the_bytes_of_the_hints(size: int) -> None:
    for normal, low_latency, region in run_ranks(allocated, size, on_one_node(size, "shm")):
        assert normal == Config().get_nvl_buffer_size_hint(1, size)
        assert low_latency == Buffer.get_low_latency_rdma_size_hint(8, 128, size, 8)
        assert region == normal + low_latency


def one_byte_less(rank: RankContext) -> None:
    exact = Config().get_nvl_buffer_size_hint(1, 2)
    with built(rank, PAIR, num_nvl_bytes=exact - 1) as buffer:
        seat = Seat(rank, PAIR, buffer)
        with pytest.raises(
            CapacityError, match=f"needs num_nvl_bytes={exact} for 2 ranks, but the"
        ):
            check_normal(seat, NormalSpec((3, 3)))
    hint = Buffer.get_low_latency_rdma_size_hint(8, 128, 2, 8)
    with built(rank, PAIR, "second", low_latency=(8, 128, 8), num_rdma_bytes=hint - 1) as buffer:
        with pytest.raises(
            CapacityError, match=f"needs {hint} bytes for 8 tokens, hidden 128, 8 ex"
        ):
            check_low_latency(Seat(rank, PAIR, buffer), LowLatencySpec((8, 8), 8))
        check_low_latency(Seat(rank, PAIR, buffer), LowLatencySpec((7, 7), 7))


def test_one_byte_less_is_too_little() -> None:
    run_ranks(one_byte_less, 2)


def test_hints_of_nonsense_are_refused() -> None:
    hint = Buffer.get_low_latency_rdma_size_hint
    with pytest.raises(ArgumentError, match="num_max_dispatch_tokens_per_rank is 0"):
        hint(0, 128, 2, 8)
    with pytest.raises(ArgumentError, match="hidden is -1"):
        hint(8, -1, 2, 8)
    with pytest.raises(ArgumentError, match="num_ranks is 0"):
        hint(8, 128, 0, 8)
    with pytest.raises(
        ArgumentError, match="num_experts is 9, but must be a positive multiple of 2"
    ):
        hint(8, 128, 2, 9)
    with pytest.raises(CapacityError, match="1025 experts on a rank, but the limit is 1024"):
        hint(8, 128, 2, 2050)
    assert _native.MAX_LOCAL_EXPERTS == 1024


def too_large(rank: RankContext) -> None:
    with pytest.raises(ArgumentError, match="num_rdma_bytes is -1, but neither may be negative"):
        Buffer(rank.exchange(), 0, -1)
    beyond = schema.MAX_REGION_BYTES + 256
    with pytest.raises(CapacityError, match=f"main_bytes is {beyond}, but must be between 0 and"):
        Buffer(rank.exchange("second"), beyond, options=PAIR.options(rank.rank))


def test_a_buffer_beyond_the_schema_is_refused() -> None:
    run_ranks(too_large, 2)


def beyond_a_region(rank: RankContext) -> None:
    """Commands count 64 GiB from the start of x; of a larger one they would send other rows."""
    hidden = 4 << 20
    tokens = schema.MAX_REGION_BYTES // (2 * hidden) + 1
    untouched = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    memory = mmap.mmap(-1, 2 * tokens * hidden, flags=untouched)
    x = torch.frombuffer(memory, dtype=torch.bfloat16).view(tokens, hidden)
    idx = torch.full((tokens, 1), -1)
    idx[-1] = 0
    with built(rank, on_one_node(1, "shm")) as buffer:
        refused = f"x has {2 * tokens * hidden} bytes, the limit is {schema.MAX_REGION_BYTES}"
        with pytest.raises(CapacityError, match=refused):
            dispatch_plainly(buffer, x, idx)
        handle = dispatch_plainly(buffer, x[-1:], idx[-1:])[4]
        with pytest.raises(CapacityError, match=refused):
            buffer.combine(x, handle)


def dispatch_plainly(buffer: Buffer, x: torch.Tensor, idx: torch.Tensor) -> Any:
    """Both calls of the normal mode, with weights of 1."""
    per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, buffer.group_size)
    return buffer.dispatch(
        x,
        num_tokens_per_rank=per_rank,
        is_token_in_rank=in_rank,
        num_tokens_per_expert=per_expert,
        topk_idx=idx,
        topk_weights=torch.ones(idx.shape),
    )


def test_rows_beyond_what_commands_can_name_are_refused() -> None:
    run_ranks(beyond_a_region, 1)


# ---- the heap -----------------------------------------------------------------------------------


def exhausted(rank: RankContext) -> None:
    """Rank 1 alone has a small heap, and gets too much for it."""
    heap = 1 << 20 if rank.rank else 64 << 20
    with built(rank, PAIR, heap_bytes=heap) as buffer:
        seat = Seat(rank, PAIR, buffer)
        large = NormalSpec((400, 400), hidden=4096, weights_back=False)
        for _ in range(3):
            with pytest.raises(CrossdockError) as caught:
                check_normal(seat, large)
            if rank.rank:
                assert isinstance(caught.value, CapacityError)
                found = re.search(
                    r"no free stretch of (\d+) bytes in the heap: (\d+) of 10485", str(caught.value)
                )
                assert found, caught.value
                assert "release results, or raise CROSSDOCK_HEAP_BYTES" in str(caught.value)
            else:
                assert isinstance(caught.value, PeerArgumentError)
                assert "rank 1 has no room in its heap" in str(caught.value)
            del caught
            check_normal(seat, NormalSpec((20, 20)))


def test_a_full_heap_is_an_error_on_every_rank_and_no_end() -> None:
    run_ranks(exhausted, 2)


def results_stay(rank: RankContext) -> None:
    """What a dispatch gave outlives the Buffer, and the heap is free again when it is gone."""
    spec = LowLatencySpec((8, 8), 8, 256, format="fp8")
    case = LowLatencyCase(spec)
    buffer = build(rank, PAIR, low_latency=(8, 256, 8), heap_bytes=8 << 20)
    native = buffer.communicator.native
    before = native.heap_used()
    received = buffer.low_latency_dispatch(case.x[rank.rank], case.topk_idx[rank.rank], 8, 8)
    rows, scales = received[0]
    taken = native.heap_used() - before
    assert taken >= rows.nbytes + scales.nbytes
    copy = rows.clone(), scales.clone()
    buffer.destroy()
    assert same(rows, copy[0])
    assert same(scales, copy[1])


def test_results_outlive_the_buffer() -> None:
    run_ranks(results_stay, 2)


def released(rank: RankContext) -> None:
    with built(rank, PAIR, low_latency=(8, 256, 8), heap_bytes=8 << 20) as buffer:
        seat = Seat(rank, PAIR, buffer)
        used = []
        for _ in range(4):
            check_normal(seat, NormalSpec((30, 40), kind="int32", hidden=512, num_scales=4))
            check_low_latency(seat, LowLatencySpec((8, 8), 8, 256, format="fp8"))
            used.append(buffer.communicator.native.heap_used())
        assert used == [used[0]] * 4
        assert used[0] < 1 << 20


def test_memory_of_results_is_free_again_when_they_are_gone() -> None:
    run_ranks(released, 2)


# ---- the memory as a tensor ---------------------------------------------------------------------


def local_tensors(rank: RankContext) -> None:
    with built(rank, PAIR, low_latency=(8, 128, 8)) as buffer:
        flat = buffer.get_local_buffer_tensor(torch.uint8)
        assert flat.shape == (buffer.num_nvl_bytes,)
        rdma = buffer.get_local_buffer_tensor(torch.float32, use_rdma_buffer=True)
        assert rdma.shape == (buffer.num_rdma_bytes // 4,)
        rdma[8] = 3.5
        region = torch.from_numpy(buffer.communicator.region_array(0))
        assert rdma.data_ptr() == region.data_ptr() + buffer.num_nvl_bytes
        assert flat.data_ptr() == region.data_ptr()
        some = buffer.get_local_buffer_tensor(
            torch.float32, torch.Size([2, 3]), offset=32, use_rdma_buffer=True
        )
        assert some.shape == (2, 3)
        assert some[0, 0] == 3.5, "it is the memory, not a copy"
        with pytest.raises(CapacityError, match="do not fit the"):
            buffer.get_local_buffer_tensor(torch.uint8, torch.Size([2]), buffer.num_nvl_bytes - 1)
        with pytest.raises(CapacityError, match=r"of torch\.float32 from offset 2 do not fit"):
            buffer.get_local_buffer_tensor(torch.float32, torch.Size([1]), 2)
        with pytest.raises(CapacityError, match="from offset -4"):
            buffer.get_local_buffer_tensor(torch.float32, None, -4)


def test_the_memory_can_be_had_as_a_tensor() -> None:
    run_ranks(local_tensors, 2)
