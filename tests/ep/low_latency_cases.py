"""Examples of the low-latency mode: drawn, made from their seed on every rank, and compared with
the reference byte by byte, but for LogFMT, whose codes may be off by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import torch
from hypothesis import strategies as st
from tests.ep.inputs import Routing, choices, experts_of_tokens, of_many_magnitudes, same
from tests.ep.pool import Seat
from torch import Tensor

from crossdock.ep import Buffer, EventOverlap, reference
from crossdock.ep.reference import LowLatencyDispatched

FORMATS: dict[str, dict[str, Any]] = {
    "bf16": {"use_fp8": False},
    "fp8": {"use_fp8": True},
    "fp8 rounded": {"use_fp8": True, "round_scale": True},
    "fp8 ue8m0": {"use_fp8": True, "round_scale": True, "use_ue8m0": True},
}
STEP = {"bf16": 8, "fp8": 128, "fp8 rounded": 128, "fp8 ue8m0": 512}  # of hidden
MOST_TOKENS, MOST_HIDDEN, MOST_LOCAL_EXPERTS = 40, 8192, 20
_ELEMENTS = 1 << 20  # of the outputs of all experts: what the reference can afford


@dataclasses.dataclass(frozen=True)
class LowLatencySpec:
    """One example."""

    tokens: tuple[int, ...]
    max_tokens: int
    hidden: int = 128
    local_experts: int = 4
    topk: int = 4
    routing: Routing = "distinct"
    masked: float = 0.0
    format: str = "bf16"
    dispatch_way: str = "plain"  # or "hook", "async"
    combine_way: str = "plain"
    returned: str = "copied"  # or "zero copy", "logfmt"
    into_out: bool = False
    statistics: bool = False
    seed: int = 0


@st.composite
def low_latency_specs(draw: st.DrawFn, size: int) -> LowLatencySpec:
    """Specs for a world of ``size`` ranks."""
    form = draw(st.sampled_from(sorted(FORMATS)))
    common = choices(draw)
    room = _ELEMENTS // (size * size * common["local_experts"])
    step = STEP[form]
    widest = max(1, min(MOST_HIDDEN, room) // step)
    hidden = step * draw(st.integers(1, min(widest, 8)) | st.integers(1, widest))
    max_tokens = draw(st.integers(1, max(1, min(MOST_TOKENS, room // hidden))))
    ways = st.sampled_from(["plain", "hook", "async"])
    returns = ["copied", "zero copy"] + ["logfmt"] * (hidden % 128 == 0)
    return LowLatencySpec(
        tokens=tuple(draw(st.integers(0, max_tokens)) for _ in range(size)),
        max_tokens=max_tokens,
        hidden=hidden,
        format=form,
        dispatch_way=draw(ways),
        combine_way=draw(ways),
        returned=draw(st.sampled_from(returns)),
        into_out=draw(st.booleans()),
        statistics=draw(st.booleans()),
        **common,
    )


class LowLatencyCase:
    """The inputs of all ranks, and what the reference makes of them."""

    def __init__(self, spec: LowLatencySpec, masked_ranks: Collection[int] = ()) -> None:
        self.spec = spec
        self.size = len(spec.tokens)
        self.num_experts = spec.local_experts * self.size
        self.masked_ranks = masked_ranks
        generator = torch.Generator().manual_seed(spec.seed)
        self.x = [of_many_magnitudes(generator, count, spec.hidden) for count in spec.tokens]
        self.topk_idx = [
            experts_of_tokens(
                generator, count, spec.topk, self.num_experts, spec.routing, spec.masked
            )
            for count in spec.tokens
        ]
        self.weights = [
            torch.rand(idx.shape, generator=generator, dtype=torch.float32) for idx in self.topk_idx
        ]
        self.want = reference.low_latency_dispatch(
            self.x,
            self.topk_idx,
            spec.max_tokens,
            self.num_experts,
            masked_ranks=masked_ranks,
            **FORMATS[spec.format],
        )
        shape = (spec.local_experts, self.size * spec.max_tokens, spec.hidden)
        self.outputs = [of_many_magnitudes(generator, *shape) for _ in range(self.size)]

    def combined(self, use_logfmt: bool = False) -> list[Tensor]:
        """What every rank gets back."""
        return reference.low_latency_combine(
            self.outputs,
            self.topk_idx,
            self.weights,
            self.want,
            use_logfmt=use_logfmt,
            masked_ranks=self.masked_ranks,
        )

    def may_differ(self, rank: int) -> Tensor:
        """How far the sums of a rank may be off when codes of LogFMT may be off by one."""
        blocks = [torch.unflatten(one.float(), -1, (-1, 128)) for one in self.outputs]
        slack = []
        for output, block in zip(self.outputs, blocks, strict=True):
            wire = torch.unflatten(reference.logfmt_encode(output), -1, (-1, 168))
            step = wire[..., 4:8].contiguous().view(torch.float32)
            # One code, and then a rounding to bf16 that may fall to the other side.
            slack.append((block.abs() * (torch.exp2(step) * (1 + 2**-8) - 1)).flatten(-2))
        sums = reference.low_latency_combine(
            [one.bfloat16() for one in slack], self.topk_idx, self.weights, self.want
        )
        return sums[rank].float() * 1.01 + 2**-7 * self.combined(True)[rank].float().abs()


def dispatch(buffer: Buffer, case: LowLatencyCase, **more: Any) -> Any:
    """``low_latency_dispatch`` of the case, on the rank of the Buffer."""
    return buffer.low_latency_dispatch(
        case.x[buffer.rank].to(buffer.device),
        case.topk_idx[buffer.rank].to(buffer.device),
        case.spec.max_tokens,
        case.num_experts,
        **FORMATS[case.spec.format],
        **more,
    )


def combine(buffer: Buffer, case: LowLatencyCase, handle: Any, **more: Any) -> Any:
    """``low_latency_combine`` of the case, on the rank of the Buffer."""
    output = case.outputs[buffer.rank].to(buffer.device)
    if more.get("zero_copy"):
        place = buffer.get_next_low_latency_combine_buffer(handle)
        output = place.copy_(output)
    idx = case.topk_idx[buffer.rank].to(buffer.device)
    weights = case.weights[buffer.rank].to(buffer.device)
    return buffer.low_latency_combine(output, idx, weights, handle, **more)


def options_of(way: str) -> dict[str, bool]:
    """The arguments that choose how a call waits."""
    return {"return_recv_hook": way == "hook", "async_finish": way == "async"}


def finish(way: str, event: EventOverlap, hook: Any) -> None:
    """Wait as the way wants it."""
    assert (hook is not None) == (way == "hook")
    assert (event.event is not None) == (way == "async")
    if hook is not None:
        hook()
        hook()  # the second time it has nothing to do
    event.current_stream_wait()


def check_low_latency(seat: Seat, spec: LowLatencySpec) -> None:
    """Dispatch and combine against the reference."""
    case = LowLatencyCase(spec)
    experts = spec.local_experts * case.size
    seat.buffer.clean_low_latency_buffer(spec.max_tokens, spec.hidden, experts)
    check_combine(seat.buffer, case, check_dispatch(seat.buffer, case))


def check_dispatch(buffer: Buffer, case: LowLatencyCase) -> Any:
    """Rows, scales, counts, where they came from, statistics; returns the handle."""
    spec = case.spec
    received = torch.full((spec.local_experts,), 5, dtype=torch.int32, device=buffer.device)
    waited = torch.zeros(case.size, dtype=torch.int64, device=buffer.device)
    more = {}
    if spec.statistics:
        more = {
            "cumulative_local_expert_recv_stats": received,
            "dispatch_wait_recv_cost_stats": waited,
        }
    x, count, handle, event, hook = dispatch(buffer, case, **options_of(spec.dispatch_way), **more)
    finish(spec.dispatch_way, event, hook)
    want = case.want[buffer.rank]
    check_received(case, want, x, count, handle)
    if spec.statistics:
        assert torch.equal(received.cpu(), want.recv_count + 5)
        assert bool((waited >= 0).all())
    return handle


def check_received(
    case: LowLatencyCase, want: LowLatencyDispatched, x: Any, count: Tensor, handle: Any
) -> None:
    """All that a dispatch returns; rows beyond an expert's count may hold anything."""
    spec = case.spec
    count = count.cpu()
    assert torch.equal(count, want.recv_count), (count, want.recv_count)
    rows, scales = (x.cpu(), None) if spec.format == "bf16" else (x[0].cpu(), x[1])
    src_info, layout_range = handle[0].cpu(), handle[1].cpu()
    assert rows.shape == want.recv_x.shape
    for expert, number in enumerate(count.tolist()):
        assert same(rows[expert, :number], want.recv_x[expert, :number]), expert
        assert same(src_info[expert, :number], want.src_info[expert, :number]), expert
        if scales is not None:
            assert want.recv_scales is not None
            assert same(scales[expert, :number].cpu(), want.recv_scales[expert, :number]), expert
    if scales is not None:
        assert scales.shape == want.recv_scales.shape  # type: ignore[union-attr]
        assert scales.transpose(1, 2).is_contiguous(), "column-major in the last two dimensions"
    assert same(layout_range, want.layout_range)
    assert tuple(handle[2:]) == (spec.max_tokens, spec.hidden, case.num_experts)


def check_combine(buffer: Buffer, case: LowLatencyCase, handle: Any) -> None:
    """Weighted sums, into a tensor of the caller or a new one."""
    spec = case.spec
    waited = torch.zeros(case.size, dtype=torch.int64, device=buffer.device)
    more: dict[str, Any] = {
        "use_logfmt": spec.returned == "logfmt",
        "zero_copy": spec.returned == "zero copy",
    }
    if spec.statistics:
        more["combine_wait_recv_cost_stats"] = waited
    if spec.into_out:
        more["out"] = torch.empty_like(case.x[buffer.rank], device=buffer.device)
    x, event, hook = combine(buffer, case, handle, **options_of(spec.combine_way), **more)
    finish(spec.combine_way, event, hook)
    if spec.into_out:
        assert x is more["out"]
    x = x.cpu()
    want = case.combined(spec.returned == "logfmt")[buffer.rank]
    if spec.returned == "logfmt":
        off = (x.float() - want.float()).abs()
        assert bool((off <= case.may_differ(buffer.rank)).all()), off.max()
    else:
        assert same(x, want)
    assert bool((waited >= 0).all())
