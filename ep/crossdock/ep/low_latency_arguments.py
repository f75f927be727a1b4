"""What callers may pass to the low-latency mode, checked before anything moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from crossdock.ep import _native
from crossdock.ep.tensors import CPU, expect_experts, expect_rows, expect_tensor, expect_topk
from crossdock.proxy import Communicator, schema
from crossdock.proxy.errors import ArgumentError, CapacityError

_BF16, _FP8, _FP8_ROUND_SCALE, _FP8_UE8M0 = range(4)
SCALE_BLOCK = 128


class LowLatencyRound:
    """A dispatch and, later, its combine. Live until it is finished or nobody holds it any more."""

    def __init__(
        self,
        communicator: Communicator,
        topk_idx: torch.Tensor,
        shape: _native.LowLatencyShape,
    ) -> None:
        self.communicator = communicator
        self.shape = shape
        self.num_tokens = topk_idx.shape[0]
        self.topk_idx = topk_idx.clone()
        self.native = _native.LowLatencyHandle()
        self.kernels: Any = None  # of a round on a GPU: what its kernels leave for each other
        self.half = 0  # of a round on a GPU: its zero-copy buffer
        self.received = False
        self.combined = False
        self.finished = False


class LowLatencyHandle(tuple[torch.Tensor, torch.Tensor, int, int, int]):
    """``(src_info, layout_range, max tokens, hidden, experts)``, and the round that it belongs to.

    ``src_info`` is int32 [local experts, ranks * max tokens]: each row's token at its source.
    ``layout_range`` is int64 [local experts, ranks]: begin << 32 | count of each source's rows.
    """

    round: LowLatencyRound

    @classmethod
    def of(
        cls,
        src_info: torch.Tensor,
        layout_range: torch.Tensor,
        shape: _native.LowLatencyShape,
        communicator: Communicator,
        topk_idx: torch.Tensor,
    ) -> LowLatencyHandle:
        """The handle of a new round."""
        handle = cls((src_info, layout_range, shape.max_tokens, shape.hidden, shape.num_experts))
        handle.round = LowLatencyRound(communicator, topk_idx, shape)
        return handle


@dataclasses.dataclass(frozen=True)
class DispatchArguments:
    """Checked arguments of a low-latency dispatch."""

    x: torch.Tensor
    topk_idx: torch.Tensor
    shape: _native.LowLatencyShape
    statistics: torch.Tensor | None
    wait_us: torch.Tensor | None

    def native(self) -> _native.LowLatencyDispatchInput:
        """The arguments as the device takes them; they refer to the tensors' memory."""
        given = _native.LowLatencyDispatchInput()
        given.shape = self.shape
        given.num_tokens = self.x.shape[0]
        given.x = self.x.data_ptr()
        given.topk_idx = self.topk_idx.data_ptr()
        return given

    def scales_of(self) -> tuple[int, torch.dtype]:
        """How many scales a row has, as stored, and their dtype."""
        scales = self.shape.hidden // SCALE_BLOCK
        if self.shape.format == _FP8_UE8M0:
            return scales // 4, torch.int32
        return scales, torch.float32


def checked_dispatch(
    x: object,
    topk_idx: object,
    max_tokens: int,
    num_experts: int,
    num_ranks: int,
    *,
    statistics: torch.Tensor | None,
    wait_us: torch.Tensor | None,
    use_fp8: bool,
    round_scale: bool,
    use_ue8m0: bool,
    device: torch.device = CPU,
) -> DispatchArguments:
    """Arguments of ``Buffer.low_latency_dispatch``, or ArgumentError, CapacityError."""
    expect_experts(num_experts, num_ranks)
    if not 1 <= max_tokens <= schema.MAX_VALUE:
        raise CapacityError(
            f"num_max_dispatch_tokens_per_rank is {max_tokens}, but must be between 1 and "
            f"{schema.MAX_VALUE}"
        )
    rows = expect_tensor("x", x, [torch.bfloat16], [None, None], device=device)
    expect_rows("x", rows)
    if rows.shape[0] > max_tokens:
        raise CapacityError(
            f"x has {rows.shape[0]} tokens, but num_max_dispatch_tokens_per_rank is {max_tokens}"
        )
    idx = expect_topk(topk_idx, rows.shape[0], num_experts, device)
    if (round_scale or use_ue8m0) and not use_fp8:
        raise ArgumentError("round_scale and use_ue8m0 are options of use_fp8=True")
    kind = _BF16
    if use_fp8:
        kind = _FP8_UE8M0 if use_ue8m0 else _FP8_ROUND_SCALE if round_scale else _FP8
        block = SCALE_BLOCK * 4 if use_ue8m0 else SCALE_BLOCK
        if rows.shape[1] % block:
            raise ArgumentError(f"hidden is {rows.shape[1]}, but must be a multiple of {block}")
    if statistics is not None:
        name = "cumulative_local_expert_recv_stats"
        expect_tensor(name, statistics, [torch.int32], [num_experts // num_ranks], device=device)
    _expect_wait_stats("dispatch_wait_recv_cost_stats", wait_us, num_ranks, device)
    shape = _native.LowLatencyShape(max_tokens, rows.shape[1], num_experts, idx.shape[1], kind)
    return DispatchArguments(rows, idx, shape, statistics, wait_us)


@dataclasses.dataclass
class CombineArguments:
    """Checked arguments of a low-latency combine."""

    x: torch.Tensor
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor
    round: LowLatencyRound
    use_logfmt: bool
    zero_copy: bool
    out: torch.Tensor
    wait_us: torch.Tensor | None

    def native(self) -> _native.LowLatencyCombineInput:
        """The arguments as the device takes them; they refer to the tensors' memory."""
        given = _native.LowLatencyCombineInput()
        given.x = self.x.data_ptr()
        given.topk_idx = self.topk_idx.data_ptr()
        given.topk_weights = self.topk_weights.data_ptr()
        given.logfmt = self.use_logfmt
        given.out = self.out.data_ptr()
        if self.wait_us is not None:
            given.wait_us = self.wait_us.data_ptr()
        return given

    def forget_x(self) -> None:
        """Once the rows are sent and summed, nothing refers to x any more."""
        self.x = self.out


def checked_combine(
    x: object,
    topk_idx: object,
    topk_weights: object,
    handle: object,
    communicator: Communicator,
    *,
    use_logfmt: bool,
    zero_copy: bool,
    out: torch.Tensor | None,
    wait_us: torch.Tensor | None,
    device: torch.device = CPU,
) -> CombineArguments:
    """Arguments of ``Buffer.low_latency_combine``, or ArgumentError."""
    known = checked_handle(handle, communicator).round
    expect_open(known)
    shape = known.shape
    ranks = communicator.size
    experts, capacity = shape.num_experts // ranks, ranks * shape.max_tokens
    rows = expect_tensor("x", x, [torch.bfloat16], [experts, capacity, shape.hidden], device=device)
    idx = expect_topk(topk_idx, known.num_tokens, shape.num_experts, device)
    # On a GPU nobody waits to compare: the indices of the dispatch are used in any case.
    if device.type == "cpu" and not torch.equal(idx, known.topk_idx):
        raise ArgumentError("topk_idx differs from that of the dispatch that made the handle")
    weights = expect_tensor("topk_weights", topk_weights, [torch.float32], idx.shape, device=device)
    if use_logfmt and zero_copy:
        raise ArgumentError("use_logfmt and zero_copy exclude each other")
    if use_logfmt and shape.hidden % SCALE_BLOCK:
        raise ArgumentError(f"hidden is {shape.hidden}, but LogFMT needs a multiple of 128")
    result = [known.num_tokens, shape.hidden]
    if out is None:
        out = torch.empty(result, dtype=torch.bfloat16, device=device)
    else:
        expect_tensor("out", out, [torch.bfloat16], result, device=device)
    _expect_wait_stats("combine_wait_recv_cost_stats", wait_us, ranks, device)
    # The copy: a hook reads it later, when the caller may have changed its own.
    return CombineArguments(
        rows, known.topk_idx, weights, known, use_logfmt, zero_copy, out, wait_us
    )


def checked_handle(handle: object, communicator: Communicator) -> LowLatencyHandle:
    """The handle, when a low-latency dispatch of this Buffer made it."""
    if not isinstance(handle, LowLatencyHandle):
        raise ArgumentError(
            f"handle is a {type(handle).__name__}; pass the handle of a low-latency dispatch"
        )
    if handle.round.communicator is not communicator:
        raise ArgumentError("handle was made by another Buffer")
    return handle


def expect_open(begun: LowLatencyRound) -> None:
    """The round has its rows, and still its place in the region: later ones lie there, too."""
    if not begun.received:
        raise ArgumentError("call the hook of the dispatch before its combine")
    if begun.combined or begun.finished:
        raise ArgumentError("handle was combined already, or belongs to an epoch that is over")


def _expect_wait_stats(
    name: str, tensor: torch.Tensor | None, num_ranks: int, device: torch.device
) -> None:
    if tensor is not None:
        expect_tensor(name, tensor, [torch.int64], [num_ranks], device=device)
