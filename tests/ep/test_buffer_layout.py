"""``get_dispatch_layout`` equals the reference for whatever is drawn; it is not collective."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.inputs import Routing, experts_of_tokens, same
from tests.ep.pool import DRAWN, RankPool, Seat, pool_of
from tests.ep.worlds import World

from crossdock.ep import Buffer, Config, reference
from crossdock.proxy import Options, ThreadExchange

WORLD = World((0, 1, 0), "shm")
SPECS = st.tuples(
    st.integers(0, 300),
    st.integers(1, 32),
    st.integers(1, 70),
    st.sampled_from(["distinct", "any", "one expert", "nowhere"]),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 1 << 31),
)
Spec = tuple[int, int, int, Routing, float, int]
pool = pool_of(WORLD)


def check(seat: Seat, spec: Spec) -> None:
    tokens, topk, local, routing, masked, seed = spec
    experts = local * WORLD.size
    generator = torch.Generator().manual_seed(seed + seat.rank)
    idx = experts_of_tokens(generator, tokens, topk, experts, routing, masked)
    *got, event = seat.buffer.get_dispatch_layout(idx, experts)
    assert event.event is None
    want = reference.layout(idx, experts, WORLD.size, WORLD.nodes)
    for mine, theirs in zip(got, want, strict=True):
        assert mine is not None
        assert same(mine, theirs)


@settings(DRAWN, max_examples=60)
@given(spec=SPECS)
def test_the_layout_equals_the_reference(pool: RankPool, spec: Spec) -> None:
    pool.check(check, spec)


def test_it_needs_no_other_rank_and_gives_no_nodes_where_there_is_one() -> None:
    buffer = Buffer(
        ThreadExchange.group(1)[0],
        Config().get_nvl_buffer_size_hint(1, 1),
        options=Options(proxy_threads=0),
    )
    idx = torch.tensor([[0, 2], [-1, 2]])
    per_rank, per_node, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, 3)
    assert per_rank.tolist() == [2]
    assert per_node is None
    assert per_expert.tolist() == [1, 0, 2]
    assert in_rank.tolist() == [[True], [True]]
    assert (per_rank.dtype, per_expert.dtype, in_rank.dtype) == (
        torch.int32,
        torch.int32,
        torch.bool,
    )
    buffer.destroy()


def test_dtypes_do_not_follow_the_default() -> None:
    """Callers set the default dtype to bf16 in places."""
    buffer = Buffer(
        ThreadExchange.group(1)[0],
        Config().get_nvl_buffer_size_hint(1, 1),
        Buffer.get_low_latency_rdma_size_hint(4, 128, 1, 4),
        low_latency_mode=True,
        options=Options(proxy_threads=0),
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        x = torch.ones(3, 128, dtype=torch.bfloat16)
        idx = torch.tensor([[0, 2]] * 3)
        weights = torch.ones(3, 2, dtype=torch.float32)
        per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, 4)
        got, local, back, counts, handle, _ = buffer.dispatch(
            x,
            num_tokens_per_rank=per_rank,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=idx,
            topk_weights=weights,
        )
        assert (local.dtype, back.dtype, counts) == (torch.int64, torch.float32, [3, 0, 3, 0])  # type: ignore[union-attr]
        assert buffer.combine(got, handle, topk_weights=back)[1].dtype == torch.float32  # type: ignore[arg-type, union-attr]
        (rows, scales), count, round_, _, _ = buffer.low_latency_dispatch(x, idx, 4, 4)
        assert (rows.dtype, scales.dtype) == (torch.float8_e4m3fn, torch.float32)
        assert (count.dtype, round_[0].dtype, round_[1].dtype) == (
            torch.int32,
            torch.int32,
            torch.int64,
        )
        y = torch.ones(4, 4, 128, dtype=torch.bfloat16)
        assert buffer.low_latency_combine(y, idx, weights, round_)[0].dtype == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
        buffer.destroy()
