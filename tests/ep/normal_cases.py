"""Examples of the normal mode: drawn, made from their seed on every rank, and compared with the
reference byte by byte."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from hypothesis import strategies as st
from tests.ep.inputs import Routing, choices, experts_of_tokens, of_many_magnitudes_in, same
from tests.ep.pool import Seat
from torch import Tensor

from crossdock.ep import EventOverlap, reference
from crossdock.ep.reference import Dispatched

FP8 = torch.float8_e4m3fn


@dataclasses.dataclass(frozen=True)
class NormalSpec:
    """One example."""

    tokens: tuple[int, ...]
    hidden: int = 64
    local_experts: int = 4
    topk: int = 4
    routing: Routing = "distinct"
    masked: float = 0.0
    kind: str = "bf16"  # or "float32 rows", or fp8 with "float32" or "int32" scales
    num_scales: int = 1
    column_major: bool = False
    alignment: int = 1
    spare_rows: int | None = None  # num_worst_tokens: this many more than needed
    weights_back: bool = True
    biases: int = 0
    asynchronous: bool = False
    internode_names: bool = False
    seed: int = 0


@st.composite
def normal_specs(draw: st.DrawFn, size: int) -> NormalSpec:
    """Specs for a world of ``size`` ranks."""
    kind = draw(st.sampled_from(["bf16", "float32 rows", "float32", "int32"]))
    step = {"bf16": 8, "float32 rows": 4}.get(kind, 16)  # channels in 16 bytes
    few = st.integers(0, 40)
    return NormalSpec(
        tokens=tuple(draw(few) for _ in range(size)),
        hidden=step * draw(st.integers(16 // step, 24) | st.integers(16 // step, 8192 // step)),
        kind=kind,
        num_scales=draw(st.integers(1, 64)),
        column_major=draw(st.booleans()),
        alignment=draw(st.sampled_from([1, 1, 3, 8, 128])),
        spare_rows=draw(st.none() | st.sampled_from([0, 7])),
        weights_back=draw(st.booleans()),
        biases=draw(st.integers(0, 2)),
        asynchronous=draw(st.booleans()),
        internode_names=draw(st.booleans()),
        **choices(draw),
    )


class NormalCase:
    """The inputs of all ranks, and what the reference makes of them."""

    def __init__(self, spec: NormalSpec, nodes: tuple[int, ...]) -> None:
        self.spec = spec
        self.nodes = nodes
        self.num_experts = spec.local_experts * len(nodes)
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.topk_idx = [
            experts_of_tokens(
                self.generator, count, spec.topk, self.num_experts, spec.routing, spec.masked
            )
            for count in spec.tokens
        ]
        self.weights = [self._random(*idx.shape) for idx in self.topk_idx]
        self.layouts = [
            reference.layout(idx, self.num_experts, len(nodes), nodes) for idx in self.topk_idx
        ]
        received = torch.stack([one.num_tokens_per_rank for one in self.layouts]).sum(0)
        spare = spec.spare_rows
        self.worst = 0 if spare is None else max(1, int(received.max()) + spare)
        self.x, self.scales = self.payload()
        self.want = reference.dispatch(
            self.x,
            self.topk_idx,
            self.weights,
            self.num_experts,
            scales=self.scales,
            expert_alignment=spec.alignment,
            num_worst_tokens=self.worst,
        )

    def payload(self) -> tuple[list[Tensor], list[Tensor] | None]:
        """Rows and scales of every rank; another payload each time."""
        spec = self.spec
        shapes = [(count, spec.hidden) for count in spec.tokens]
        if spec.kind in ("bf16", "float32 rows"):
            return [self._rows(self.generator, *shape) for shape in shapes], None
        x = [torch.randint(0, 256, s, generator=self.generator) for s in shapes]
        rows = [values.to(torch.uint8).view(FP8) for values in x]
        bits = [
            torch.randint(0, 1 << 30, (count, spec.num_scales), generator=self.generator)
            for count in spec.tokens
        ]
        kind = torch.float32 if spec.kind == "float32" else torch.int32
        return rows, [table.to(torch.int32).view(kind) for table in bits]

    def arguments(self, rank: int) -> dict[str, Any]:
        """What the dispatch of a rank must be given."""
        layout = self.layouts[rank]
        return {
            "x": passed(self, rank, self.x, self.scales),
            "num_tokens_per_rank": layout.num_tokens_per_rank,
            "is_token_in_rank": layout.is_token_in_rank,
            "num_tokens_per_expert": layout.num_tokens_per_expert,
            "topk_idx": self.topk_idx[rank],
            "topk_weights": self.weights[rank],
        }

    def outputs(self) -> list[Tensor]:
        """What the experts of each rank return."""
        rows = [len(one.source_rank) for one in self.want]
        return [self._rows(self.generator, count, self.spec.hidden) for count in rows]

    def weights_of_outputs(self) -> list[Tensor]:
        """Weights to be summed on the way back; any will do, so that the order of the sum shows."""
        return [self._random(len(one.source_rank), self.spec.topk) for one in self.want]

    def bias(self, rank: int) -> Any:
        """None, a tensor or two, different on each rank."""
        generator = torch.Generator().manual_seed(self.spec.seed + 1 + rank)
        shape = (self.spec.tokens[rank], self.spec.hidden)
        terms = tuple(self._rows(generator, *shape) for _ in range(self.spec.biases))
        return (None, terms[0] if terms else None, terms)[len(terms)]

    def _rows(self, generator: torch.Generator, *shape: int) -> Tensor:
        dtype = torch.float32 if self.spec.kind == "float32 rows" else torch.bfloat16
        return of_many_magnitudes_in(dtype, generator, *shape)

    def _random(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float32)


def passed(case: NormalCase, rank: int, x: list[Tensor], scales: list[Tensor] | None) -> Any:
    """``x`` as a rank passes it to dispatch."""
    if scales is None:
        return x[rank]
    mine = scales[rank]
    return x[rank], mine.t().contiguous().t() if case.spec.column_major else mine


def check_normal(seat: Seat, spec: NormalSpec) -> None:
    """Layout, dispatch, cached dispatch and combine against the reference."""
    case = NormalCase(spec, seat.world.nodes)
    check_layout(seat, case)
    handle, event = check_dispatch(seat, case)
    event = check_cached(seat, case, handle, event)
    check_combine(seat, case, handle, event)


def check_layout(seat: Seat, case: NormalCase) -> None:
    """All four tensors."""
    idx = case.topk_idx[seat.rank]
    asynchronous = case.spec.asynchronous
    *got, event = seat.buffer.get_dispatch_layout(idx, case.num_experts, async_finish=asynchronous)
    event.current_stream_wait()
    for mine, want in zip(got, case.layouts[seat.rank], strict=True):
        assert (mine is None) == (want is None)
        assert mine is None or same(mine, want)


def check_dispatch(seat: Seat, case: NormalCase) -> tuple[Any, EventOverlap]:
    """Rows, scales, indices, weights, counts."""
    rank, spec = seat.rank, case.spec
    buffer = seat.buffer
    dispatch = buffer.internode_dispatch if spec.internode_names else buffer.dispatch
    x, idx, weights, counts, handle, event = dispatch(
        **case.arguments(rank),
        num_tokens_per_rdma_rank=case.layouts[rank].num_tokens_per_node,
        expert_alignment=spec.alignment,
        num_worst_tokens=case.worst,
        previous_event=buffer.capture(),
        async_finish=spec.asynchronous,
    )
    assert (event.event is not None) == spec.asynchronous
    event.current_stream_wait()
    want = case.want[rank]
    check_rows(case, x, want)
    assert idx is not None
    assert weights is not None
    assert same(idx, want.recv_topk_idx)
    assert same(weights, want.recv_topk_weights)
    assert counts == want.num_recv_tokens_per_expert
    return handle, event


def check_rows(case: NormalCase, x: Any, want: Dispatched) -> None:
    """Rows, and scales if there are any; padding rows may hold anything."""
    real = int((want.source_rank >= 0).sum())
    rows, scales = (x, None) if case.scales is None else x
    assert rows.shape == want.recv_x.shape
    assert same(rows[:real], want.recv_x[:real])
    if scales is not None:
        assert want.recv_scales is not None
        assert same(scales[:real], want.recv_scales[:real])


def check_cached(seat: Seat, case: NormalCase, handle: Any, previous: EventOverlap) -> EventOverlap:
    """Another payload along the same ways."""
    x, scales = case.payload()
    want = reference.dispatch(
        x,
        None,
        None,
        case.num_experts,
        scales=scales,
        num_worst_tokens=case.worst,
        is_token_in_rank=[layout.is_token_in_rank for layout in case.layouts],
    )
    got, *rest, event = seat.buffer.dispatch(
        passed(case, seat.rank, x, scales),
        handle=handle,
        num_worst_tokens=case.worst,
        previous_event=previous,
        async_finish=case.spec.asynchronous,
    )
    assert rest == [None] * 4
    event.current_stream_wait()
    check_rows(case, got, want[seat.rank])
    return event


def check_combine(seat: Seat, case: NormalCase, handle: Any, previous: EventOverlap) -> None:
    """Sums of rows, of biases, of weights."""
    rank, spec = seat.rank, case.spec
    outputs = case.outputs()
    back = case.weights_of_outputs() if spec.weights_back else None
    want = reference.combine(
        outputs,
        case.want,
        topk_weights=back,
        bias=[case.bias(r) for r in range(len(outputs))],
        node_of=case.nodes,
    )[rank]
    buffer = seat.buffer
    combine = buffer.internode_combine if spec.internode_names else buffer.combine
    x, weights, event = combine(
        outputs[rank],
        handle,
        topk_weights=None if back is None else back[rank],
        bias=case.bias(rank),
        previous_event=previous,
        async_finish=spec.asynchronous,
    )
    with event:
        pass
    assert same(x, want.combined_x)
    assert (weights is None) == (want.combined_topk_weights is None)
    assert weights is None or same(weights, want.combined_topk_weights)
