"""What callers may pass to the normal mode, checked before anything moves."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import torch

from crossdock.ep import _native
from crossdock.ep._native import MAX_TOPK
from crossdock.ep.tensors import (
    CPU,
    FP8,
    expect_experts,
    expect_rows,
    expect_tensor,
    expect_topk,
    expect_whole,
)
from crossdock.proxy import schema
from crossdock.proxy.errors import ArgumentError, CapacityError

X = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
Bias = torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None
ROW_TYPES = {
    torch.bfloat16: _native.RowType.BF16,
    torch.float32: _native.RowType.FLOAT32,
}
"""What can be summed. DeepEP has bf16 only; training in float32 needs the other."""
_SCALES = (torch.float32, torch.int32)
MAX_SCALES = (schema.MAX_TRANSFER_BYTES - 1024) // 4
"""They travel in one transfer with indices, weights and ranks, which need less than 1024 bytes."""
MAX_ROWS = (1 << 31) - 1


class Route(Protocol):
    """What a rank remembers of the ways of rows: ``_native.NormalHandle``, or that of a GPU."""

    @property
    def num_tokens(self) -> int:
        """That this rank has dispatched."""

    @property
    def first_row(self) -> list[int]:
        """Of each source rank, and one past the last."""

    @property
    def num_recv(self) -> int:
        """Rows that came."""

    @property
    def complete(self) -> bool:
        """Whether the dispatch has ended well."""


@dataclasses.dataclass(frozen=True, eq=False)
class DispatchHandle:
    """What ``combine`` and a cached ``dispatch`` need of a dispatch. Opaque to callers, but for
    ``first_row``.
    """

    route: Route
    engine: _native.Engine
    is_token_in_rank: torch.Tensor
    num_experts: int
    num_rows: int
    """That a combine must be given at least."""

    @property
    def native(self) -> _native.NormalHandle:
        """Of a dispatch on the CPU."""
        assert isinstance(self.route, _native.NormalHandle)
        return self.route

    @property
    def first_row(self) -> list[int]:
        """Where the rows of each source rank begin among those received, and how many there are in
        all: [ranks + 1]. After a dispatch with ``num_worst_tokens`` on a GPU it waits for that.
        """
        return list(self.route.first_row)


@dataclasses.dataclass(frozen=True)
class DispatchArguments:
    """Checked arguments of a dispatch. Without ``handle`` all but the scales are there."""

    x: torch.Tensor
    scales: torch.Tensor | None
    topk_idx: torch.Tensor | None
    topk_weights: torch.Tensor | None
    is_token_in_rank: torch.Tensor
    tokens_per_expert: torch.Tensor | None
    num_experts: int
    handle: DispatchHandle | None
    expert_alignment: int
    num_worst_tokens: int
    tokens_per_rank: torch.Tensor | None = None

    @property
    def topk(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Indices and weights, if there are any."""
        if self.topk_idx is None or self.topk_weights is None:
            return None
        return self.topk_idx, self.topk_weights

    def native(self, x_region: int) -> _native.DispatchInput:
        """The arguments as the device takes them; they refer to the tensors' memory."""
        given = _native.DispatchInput()
        given.num_tokens = self.x.shape[0]
        given.hidden_bytes = self.x.shape[1] * self.x.element_size()
        given.element_bytes = self.x.element_size()
        given.num_experts = self.num_experts
        given.cached = self.handle is not None
        given.x_region = x_region
        given.is_token_in_rank = self.is_token_in_rank.data_ptr()
        if self.scales is not None:
            given.num_scales = self.scales.shape[1]
            given.scales = self.scales.data_ptr()
            given.set_scale_strides(*self.scales.stride())
        if self.topk_idx is not None and self.topk_weights is not None:
            given.topk = self.topk_idx.shape[1]
            given.topk_idx = self.topk_idx.data_ptr()
            given.topk_weights = self.topk_weights.data_ptr()
        if self.tokens_per_expert is not None:
            given.tokens_per_expert = self.tokens_per_expert.data_ptr()
        return given


def checked_dispatch(
    x: X,
    handle: object,
    num_ranks: int,
    engine: _native.Engine,
    *,
    num_tokens_per_rank: torch.Tensor | None,
    is_token_in_rank: torch.Tensor | None,
    num_tokens_per_expert: torch.Tensor | None,
    topk_idx: torch.Tensor | None,
    topk_weights: torch.Tensor | None,
    expert_alignment: int,
    num_worst_tokens: int,
    device: torch.device = CPU,
) -> DispatchArguments:
    """Arguments of ``Buffer.dispatch``, or ArgumentError.

    What is in tensors on a GPU is not looked at: kernels count anew, and the next call tells.
    """
    rows, scales = _checked_x(x, device)
    num_tokens = rows.shape[0]
    sizes = _checked_sizes(expert_alignment, num_worst_tokens)
    if handle is not None:
        return _cached(rows, scales, checked_handle(handle, engine), sizes)
    if topk_idx is None or topk_weights is None:
        raise ArgumentError("topk_idx and topk_weights are needed, or the handle of a dispatch")
    for name, value in (
        ("num_tokens_per_rank", num_tokens_per_rank),
        ("is_token_in_rank", is_token_in_rank),
        ("num_tokens_per_expert", num_tokens_per_expert),
    ):
        if value is None:
            raise ArgumentError(f"{name} is needed; get_dispatch_layout computes it")
    per_rank = expect_tensor(
        "num_tokens_per_rank", num_tokens_per_rank, [torch.int32], [num_ranks], device=device
    )
    in_rank = expect_tensor(
        "is_token_in_rank", is_token_in_rank, [torch.bool], [num_tokens, num_ranks], device=device
    )
    per_expert = expect_tensor(
        "num_tokens_per_expert", num_tokens_per_expert, [torch.int32], [None], device=device
    )
    expect_experts(per_expert.numel(), num_ranks)
    idx = expect_topk(topk_idx, num_tokens, per_expert.numel(), device)
    weights = expect_tensor("topk_weights", topk_weights, [torch.float32], idx.shape, device=device)
    if device.type == "cpu":
        _expect_counts(idx, per_expert)
        _expect_ranks(per_rank, in_rank)
    return DispatchArguments(
        rows, scales, idx, weights, in_rank, per_expert, per_expert.numel(), None, *sizes, per_rank
    )


def _expect_ranks(per_rank: torch.Tensor, in_rank: torch.Tensor) -> None:
    # Bytes that were only declared to be bool count as what they are.
    if in_rank.numel() and int(in_rank.view(torch.uint8).max()) > 1:
        raise ArgumentError(
            "is_token_in_rank holds bytes that are neither 0 nor 1; compare with 0 instead of "
            "viewing other numbers as bool"
        )
    announced, counted = per_rank.tolist(), in_rank.sum(0).tolist()
    if announced != counted:
        raise ArgumentError(
            f"num_tokens_per_rank announces {announced}, but is_token_in_rank counts {counted}"
        )


def _expect_counts(idx: torch.Tensor, per_expert: torch.Tensor) -> None:
    """Counts that do not belong to the indices would only show in what other ranks return."""
    wrong = _native.first_miscount(
        idx.data_ptr(), idx.shape[0], idx.shape[1], per_expert.data_ptr(), per_expert.numel()
    )
    if wrong is not None:
        expert, counted = wrong
        raise ArgumentError(
            f"num_tokens_per_expert announces {int(per_expert[expert])} tokens for expert "
            f"{expert}, but topk_idx has {counted}; pass what get_dispatch_layout gives for it"
        )


def _checked_sizes(expert_alignment: object, num_worst_tokens: object) -> tuple[int, int]:
    alignment = expect_whole("expert_alignment", expert_alignment)
    if alignment < 1:
        raise ArgumentError(f"expert_alignment is {alignment}, but must be positive")
    worst = expect_whole("num_worst_tokens", num_worst_tokens)
    if worst < 0:
        raise ArgumentError(f"num_worst_tokens is {worst}, but must not be negative")
    if worst > MAX_ROWS:
        raise CapacityError(f"num_worst_tokens is {worst}, the limit is {MAX_ROWS}")
    return alignment, worst


def _checked_x(x: X, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    if not isinstance(x, tuple):
        rows = expect_tensor("x", x, list(ROW_TYPES), [None, None], device=device)
        expect_rows("x", rows)
        return rows, None
    if len(x) != 2:
        raise ArgumentError(f"x is a tuple of {len(x)}, but must be (fp8 values, scales)")
    rows = expect_tensor("x[0]", x[0], [FP8], [None, None], device=device)
    expect_rows("x[0]", rows)
    scales = expect_tensor(
        "x[1]", x[1], _SCALES, [rows.shape[0], None], contiguous=False, device=device
    )
    if scales.shape[1] == 0:
        raise ArgumentError("x[1] has no scales; pass at least one for each token")
    if scales.shape[1] > MAX_SCALES:
        raise CapacityError(
            f"x[1] has {scales.shape[1]} scales for each token, the limit is {MAX_SCALES}"
        )
    return rows, scales


def _cached(
    rows: torch.Tensor,
    scales: torch.Tensor | None,
    handle: DispatchHandle,
    sizes: tuple[int, int],
) -> DispatchArguments:
    if rows.shape[0] != handle.route.num_tokens:
        raise ArgumentError(
            f"x has {rows.shape[0]} tokens, but the handle is of {handle.route.num_tokens}"
        )
    return DispatchArguments(
        rows, scales, None, None, handle.is_token_in_rank, None, handle.num_experts, handle, *sizes
    )


def checked_handle(handle: object, engine: _native.Engine) -> DispatchHandle:
    """The handle, when a dispatch of this Buffer made it."""
    if not isinstance(handle, DispatchHandle):
        raise ArgumentError(f"handle is a {type(handle).__name__}; pass the handle of a dispatch")
    if handle.engine is not engine:
        raise ArgumentError("handle was made by another Buffer")
    if not handle.route.complete:
        raise ArgumentError("handle is of a dispatch that failed")
    return handle


@dataclasses.dataclass(frozen=True)
class CombineArguments:
    """Checked arguments of a combine."""

    x: torch.Tensor
    handle: DispatchHandle
    topk_weights: torch.Tensor | None
    biases: tuple[torch.Tensor, ...]


def checked_combine(
    x: object,
    handle: object,
    topk_weights: object,
    bias: Bias,
    engine: _native.Engine,
    device: torch.device = CPU,
) -> CombineArguments:
    """Arguments of ``Buffer.combine``, or ArgumentError."""
    known = checked_handle(handle, engine)
    rows = expect_tensor("x", x, list(ROW_TYPES), [None, None], device=device)
    expect_rows("x", rows)
    if rows.shape[0] < known.num_rows:
        raise ArgumentError(f"x has {rows.shape[0]} rows, but the dispatch gave {known.num_rows}")
    weights = None
    if topk_weights is not None:
        weights = expect_tensor(
            "topk_weights", topk_weights, [torch.float32], [None, None], device=device
        )
        if weights.shape[0] < known.num_rows:
            raise ArgumentError(
                f"topk_weights has {weights.shape[0]} rows, but the dispatch gave {known.num_rows}"
            )
        if not 1 <= weights.shape[1] <= MAX_TOPK:
            raise CapacityError(
                f"topk_weights has top-k {weights.shape[1]}, but must be between 1 and {MAX_TOPK}"
            )
    biases = checked_biases(bias, known.route.num_tokens, rows.shape[1], rows.dtype, device)
    return CombineArguments(rows, known, weights, biases)


def checked_biases(
    bias: Bias, num_tokens: int, hidden: int, dtype: torch.dtype, device: torch.device = CPU
) -> tuple[torch.Tensor, ...]:
    """None, one or two [tokens, hidden]."""
    given = () if bias is None else bias if isinstance(bias, tuple) else (bias,)
    if len(given) > 2:
        raise ArgumentError(f"bias is a tuple of {len(given)}, but must have at most 2 tensors")
    shape = [num_tokens, hidden]
    return tuple(expect_tensor("bias", b, [dtype], shape, device=device) for b in given)
