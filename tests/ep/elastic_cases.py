"""Examples of ``ElasticBuffer``: drawn, made from their seed on every rank, and compared with the
reference byte by byte."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from hypothesis import strategies as st
from tests.ep.inputs import Routing, experts_of_tokens, of_many_magnitudes, same
from tests.ep.pool import Seat
from torch import Tensor

from crossdock.ep import ElasticBuffer, EPHandle, EventOverlap, reference
from crossdock.ep.reference import ElasticDispatched

FP8 = torch.float8_e4m3fn


@dataclasses.dataclass(frozen=True)
class ElasticSpec:
    """One example."""

    tokens: tuple[int, ...]
    hidden: int = 64
    local_experts: int = 4
    topk: int = 3
    routing: Routing = "distinct"
    masked: float = 0.0
    kind: str = "bf16"  # or fp8 with "float32" or "int32" scales
    num_scales: int = 1
    column_major: tuple[bool, bool] = (False, False)  # in, out
    alignment: int | None = None
    spare: int = 0  # num_max_tokens_per_rank: this many more than there are
    expand: bool = False
    cpu_sync: bool = True
    zero_padding: bool = False
    weights: bool = True
    cached_weights: bool = False
    biases: int = 0
    multiple: bool = True  # allow_multiple_reduction
    asynchronous: bool = False
    handle_copy: bool = True
    seed: int = 0


@st.composite
def elastic_specs(draw: st.DrawFn, size: int) -> ElasticSpec:
    """Specs for a world of ``size`` ranks."""
    kind = draw(st.sampled_from(["bf16", "float32", "int32"]))
    step = 8 if kind == "bf16" else 16  # channels in 16 bytes
    expand = draw(st.booleans())
    flag = st.booleans()
    local_experts = draw(st.integers(1, 4) | st.integers(1, 20))
    return ElasticSpec(
        tokens=tuple(draw(st.integers(0, 24)) for _ in range(size)),
        hidden=step * draw(st.integers(16 // step, 24) | st.integers(16 // step, 512 // step)),
        local_experts=local_experts,
        topk=draw(st.integers(1, min(8, local_experts * size))),
        routing=draw(st.sampled_from(["distinct", "distinct", "one expert", "nowhere"])),
        masked=draw(st.sampled_from([0.0, 0.2, 0.8])),
        kind=kind,
        num_scales=draw(st.integers(1, 60)),
        column_major=(draw(flag), draw(flag)),
        alignment=draw(st.sampled_from([None, 1, 3, 8, 128])),
        spare=draw(st.integers(0, 5)),
        expand=expand,
        cpu_sync=draw(flag),
        zero_padding=expand and draw(flag),
        weights=draw(flag),
        cached_weights=draw(flag),
        biases=draw(st.integers(0, 2)),
        multiple=draw(flag),
        asynchronous=draw(flag),
        handle_copy=draw(flag),
        seed=draw(st.integers(0, 1 << 31)),
    )


class ElasticCase:
    """The inputs of all ranks, and what the reference makes of them."""

    def __init__(self, spec: ElasticSpec, size: int) -> None:
        self.spec = spec
        self.num_experts = spec.local_experts * size
        self.num_max = max(1, *spec.tokens) + spec.spare
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.topk_idx = [
            experts_of_tokens(
                self.generator, count, spec.topk, self.num_experts, spec.routing, spec.masked
            )
            for count in spec.tokens
        ]
        self.weights = [self.random(*idx.shape) for idx in self.topk_idx]
        self.x, self.scales = self.payload()
        self.want = self.dispatched(self.x, self.scales, self.weights if spec.weights else None)

    def dispatched(
        self, x: list[Tensor], scales: list[Tensor] | None, weights: list[Tensor] | None
    ) -> list[ElasticDispatched]:
        """What each rank must get."""
        return reference.elastic_dispatch(
            x,
            self.topk_idx,
            weights,
            self.num_experts,
            self.num_max,
            scales=scales,
            expert_alignment=self.spec.alignment or 1,
            do_expand=self.spec.expand,
            do_cpu_sync=self.spec.cpu_sync,
        )

    def payload(self) -> tuple[list[Tensor], list[Tensor] | None]:
        """Rows and scales of every rank; another payload each time."""
        spec = self.spec
        shapes = [(count, spec.hidden) for count in spec.tokens]
        if spec.kind == "bf16":
            return [of_many_magnitudes(self.generator, *shape) for shape in shapes], None
        x = [torch.randint(0, 256, shape, generator=self.generator) for shape in shapes]
        bits = [
            torch.randint(0, 1 << 30, (count, spec.num_scales), generator=self.generator)
            for count in spec.tokens
        ]
        kind = torch.float32 if spec.kind == "float32" else torch.int32
        rows = [values.to(torch.uint8).view(FP8) for values in x]
        return rows, [table.to(torch.int32).view(kind) for table in bits]

    def passed(self, rank: int, x: list[Tensor], scales: list[Tensor] | None) -> Any:
        """``x`` as a rank passes it to dispatch."""
        if scales is None:
            return x[rank]
        mine = scales[rank]
        return x[rank], mine.t().contiguous().t() if self.spec.column_major[0] else mine

    def arguments(self, rank: int) -> dict[str, Any]:
        """What the first dispatch of a rank is given."""
        return {
            "x": self.passed(rank, self.x, self.scales),
            "topk_idx": self.topk_idx[rank],
            "topk_weights": self.weights[rank] if self.spec.weights else None,
            "num_experts": self.num_experts,
            "num_max_tokens_per_rank": self.num_max,
            "expert_alignment": self.spec.alignment,
            "do_handle_copy": self.spec.handle_copy,
            "do_cpu_sync": self.spec.cpu_sync,
        }

    def bias(self, rank: int) -> Any:
        """None, a tensor or two, different on each rank."""
        generator = torch.Generator().manual_seed(self.spec.seed + 1 + rank)
        shape = (self.spec.tokens[rank], self.spec.hidden)
        terms = tuple(of_many_magnitudes(generator, *shape) for _ in range(self.spec.biases))
        return (None, terms[0] if terms else None, terms)[len(terms)]

    def random(self, *shape: int) -> Tensor:
        """Weights; any will do, so that the order of their sum shows."""
        return torch.rand(shape, generator=self.generator, dtype=torch.float32)


_made: dict[bool, ElasticBuffer] = {}
"""Of this rank's process, by ``allow_multiple_reduction``."""


def elastic_of(seat: Seat, multiple: bool = True) -> ElasticBuffer:
    """The ElasticBuffer of a rank, which stays for further examples."""
    if multiple not in _made:
        _made[multiple] = ElasticBuffer(
            seat.context.exchange(f"elastic {multiple}"),
            allow_multiple_reduction=multiple,
            options=seat.world.options(seat.rank),
        )
    return _made[multiple]


def check_elastic(seat: Seat, spec: ElasticSpec) -> None:
    """Dispatch, cached dispatch and combine against the reference."""
    case = ElasticCase(spec, seat.world.size)
    buffer = elastic_of(seat, spec.multiple)
    try:
        handle = check_dispatch(buffer, case)
        check_cached(buffer, case, handle)
        check_combine(buffer, case, handle, seat.world.nodes)
    except BaseException:
        buffer.communicator.abort()
        raise


def check_dispatch(buffer: ElasticBuffer, case: ElasticCase) -> EPHandle:
    """Rows, scales, indices, weights, statistics, and all that the handle says."""
    spec, rank = case.spec, buffer.rank_idx
    statistics = torch.full((spec.local_experts,), 5, dtype=torch.int32)
    *got, handle, event = buffer.dispatch(
        **case.arguments(rank),
        cumulative_local_expert_recv_stats=statistics,
        do_expand=spec.expand,
        do_zero_padding=spec.zero_padding,
        use_tma_aligned_col_major_sf=spec.column_major[1],
        previous_event=buffer.capture(),
        async_with_compute_stream=spec.asynchronous,
    )
    finish(spec, event)
    want = case.want[rank]
    check_results(case, got, want)
    check_handle(case, handle, want)
    assert same(statistics, want.unaligned_counts + 5)
    mine = case.topk_idx[rank]
    assert (handle.topk_idx is mine) != spec.handle_copy
    assert same(handle.topk_idx, mine)
    return handle


def finish(spec: ElasticSpec, event: EventOverlap) -> None:
    """Wait, if there is something to wait for."""
    assert (event.event is not None) == spec.asynchronous
    event.current_stream_wait()


def check_results(case: ElasticCase, got: list[Any], want: ElasticDispatched) -> None:
    """What dispatch returns but for the handle and the event."""
    x, idx, weights = got
    rows, scales = (x, None) if case.scales is None else x
    there = want.is_token
    if case.spec.zero_padding:
        # Zeros between experts are promised; beyond the last one they are not.
        end = int(want.psum_per_expert[-1])
        alignment = case.spec.alignment or 1
        there = torch.arange(len(there)) < -(-end // alignment) * alignment
    pairs = [(rows, want.recv_x), (scales, want.recv_scales)]
    pairs += [(idx, want.recv_topk_idx), (weights, want.recv_topk_weights)]
    for mine, table in pairs:
        assert (mine is None) == (table is None)
        if table is not None:
            assert mine.shape == table.shape
            assert same(mine.view(mine.dtype)[there], table[there])
    if scales is not None and scales.numel():
        columns = (1, -(-len(rows) // 4) * 4)
        assert scales.stride() == (columns if case.spec.column_major[1] else (scales.shape[1], 1))


def check_handle(case: ElasticCase, handle: EPHandle, want: ElasticDispatched) -> None:
    """Every field."""
    spec = case.spec
    assert handle.do_expand == spec.expand
    assert handle.num_experts == case.num_experts
    assert handle.expert_alignment == (spec.alignment or 1)
    assert handle.num_max_tokens_per_rank == case.num_max
    assert handle.num_recv_tokens_per_expert_list == want.counts
    assert handle.num_recv_tokens == len(want.recv_src_metadata)
    if spec.expand:
        assert handle.num_expanded_tokens == len(want.is_token)
    assert same(handle.psum_num_recv_tokens_per_scaleup_rank, want.psum_per_rank)
    assert same(handle.psum_num_recv_tokens_per_expert, want.psum_per_expert)
    assert same(handle.num_unaligned_recv_tokens_per_expert, want.unaligned_counts)
    assert same(handle.recv_src_metadata, want.recv_src_metadata)
    assert handle.token_metadata_at_forward is None
    assert handle.channel_linked_list is None
    assert same(handle.dst_buffer_slot_idx, slots_at_destination(case, handle.rank))


def slots_at_destination(case: ElasticCase, rank: int) -> Tensor:
    """By counting, token after token."""
    sent = [0] * len(case.topk_idx)
    table = torch.full(case.topk_idx[rank].shape, -1, dtype=torch.int32)
    for token, experts in enumerate(case.topk_idx[rank].tolist()):
        seen = set()
        for choice, expert in enumerate(experts):
            destination = expert // case.spec.local_experts
            if expert >= 0 and destination not in seen:
                seen.add(destination)
                table[token, choice] = rank * case.num_max + sent[destination]
                sent[destination] += 1
    return table


def check_cached(buffer: ElasticBuffer, case: ElasticCase, handle: EPHandle) -> None:
    """Another payload along the same ways, with other weights or none."""
    spec, rank = case.spec, buffer.rank_idx
    x, scales = case.payload()
    weights = [case.random(*idx.shape) for idx in case.topk_idx] if spec.cached_weights else None
    *got, again, event = buffer.dispatch(
        case.passed(rank, x, scales),
        topk_weights=None if weights is None else weights[rank],
        handle=handle,
        do_expand=spec.expand,
        do_zero_padding=spec.zero_padding,
        use_tma_aligned_col_major_sf=spec.column_major[1],
        async_with_compute_stream=spec.asynchronous,
    )
    finish(spec, event)
    assert again is handle
    want = case.dispatched(x, scales, weights)[rank]
    check_results(case, got, want)
    check_handle(case, handle, want)


def cancelling(generator: torch.Generator, *shape: int) -> Tensor:
    """Small numbers that are lost in large ones, which cancel out: any other order shows."""
    values = torch.randint(-3, 4, shape, generator=generator)
    return values.float() * 2.0 ** (25 * torch.randint(0, 2, shape, generator=generator))


def check_combine(
    buffer: ElasticBuffer, case: ElasticCase, handle: EPHandle, nodes: tuple[int, ...]
) -> None:
    """Sums of rows, of biases, of weights."""
    spec, rank = case.spec, buffer.rank_idx
    rows = [len(one.is_token) for one in case.want]
    outputs = [cancelling(case.generator, count, spec.hidden).bfloat16() for count in rows]
    shapes = [(count,) if spec.expand else (count, spec.topk) for count in rows]
    back = [cancelling(case.generator, *shape) for shape in shapes]
    want = reference.elastic_combine(
        outputs,
        case.want,
        topk_weights=back if spec.weights else None,
        bias=[case.bias(r) for r in range(len(outputs))],
        node_of=nodes,
        allow_multiple_reduction=spec.multiple,
    )[rank]
    x, weights, event = buffer.combine(
        x=outputs[rank],
        handle=handle,
        topk_weights=back[rank] if spec.weights else None,
        bias=case.bias(rank),
        previous_event=EventOverlap(buffer.capture()),
        async_with_compute_stream=spec.asynchronous,
    )
    finish(spec, event)
    assert same(x, want.combined_x)
    assert (weights is None) == (want.combined_topk_weights is None)
    assert weights is None or same(weights, want.combined_topk_weights)
