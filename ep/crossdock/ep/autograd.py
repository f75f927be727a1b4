"""Dispatch and combine through which gradients flow, for training.

    received = autograd.dispatch(buffer, x, topk_idx, topk_weights, num_experts)
    y = experts(received.x, received.topk_idx, received.topk_weights)  # weighted here already
    out = autograd.combine(y, received.handle)

Both are linear, and each is the other's adjoint: the gradient of what was dispatched is combined,
and the gradient of what was combined is dispatched along the same handle. So a backward pass is
collective as the forward pass is. Every rank must run it, on a loss that depends on the combined
rows, even if it has no token. A rank to which nothing came takes part by itself, whatever its
experts did: the handle ties ``combine`` to its ``dispatch``.

Rows are float32, or bf16 as under ``torch.autocast``; gradients have their type, and sums over
ranks are made in float32. What came lies in the heap of the Buffer (``CROSSDOCK_HEAP_BYTES``) for
as long as something needs it for its backward pass. ``torch.utils.checkpoint`` around the layer, or
around the experts only, is possible: the handle of the first pass is kept for the backward pass.
With ``use_reentrant=True`` both calls must be inside, or both outside.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from crossdock.ep.buffer import Buffer
from crossdock.proxy.errors import ArgumentError, CrossdockError, DestroyedError


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingHandle:
    """What ``combine`` needs of a ``dispatch``. Opaque to callers."""

    buffer: Buffer
    raw: object
    """The handle of ``Buffer.dispatch``."""
    link: Tensor
    """A scalar that depends on the dispatch: it makes the backward of combine lead there even where
    nothing else does, as on a rank whose experts had no row."""


class Received(NamedTuple):
    """What came to this rank: rows by source rank, then by token."""

    x: Tensor
    """[rows, hidden] in the type of what was sent."""
    topk_idx: Tensor
    """int64 [rows, topk]: local experts, -1 where the expert is elsewhere."""
    topk_weights: Tensor
    """float32 [rows, topk]: 0 where the expert is elsewhere."""
    num_tokens_per_expert: list[int]
    """Of local experts, each rounded up to the alignment."""
    handle: TrainingHandle


def dispatch(
    buffer: Buffer,
    x: Tensor,
    topk_idx: Tensor,
    topk_weights: Tensor,
    num_experts: int,
    *,
    expert_alignment: int = 1,
) -> Received:
    """``Buffer.dispatch``, differentiable in ``x`` and ``topk_weights``.

    Args:
        buffer: of all ranks; it must live until the backward pass has run.
        x: float32 or bf16 [tokens, hidden]. Whether it requires a gradient must be the same on
            every rank, and so for ``topk_weights``.
        topk_idx: int64 [tokens, topk], -1 for no expert.
        topk_weights: [tokens, topk] of any floating type; float32 is what travels.
        num_experts: of all ranks together.
        expert_alignment: counts of local experts are rounded up to a multiple of it.

    Raises:
        CrossdockError: as ``Buffer.dispatch``; and from the backward pass as ``Buffer.combine``,
            ArgumentError for ``create_graph=True``, DestroyedError when the Buffer is gone.
    """
    for name, value in (("x", x), ("topk_idx", topk_idx), ("topk_weights", topk_weights)):
        if not isinstance(value, Tensor):
            _tell_refusal(buffer)
            raise ArgumentError(f"{name} is a {type(value).__name__}, but must be a tensor")
    recv_x, idx, weights, link, counts, raw = _Dispatch.apply(  # type: ignore[no-untyped-call]
        buffer,
        (topk_idx, num_experts, expert_alignment),
        x,
        topk_weights.float(),
        _leaf(x),
    )
    return Received(recv_x, idx, weights, counts, TrainingHandle(buffer, raw, link))


def combine(x: Tensor, handle: TrainingHandle) -> Tensor:
    """``Buffer.combine``, differentiable in ``x``: the unweighted sum of each token's rows.

    Args:
        x: float32 or bf16 [rows, hidden] in the order of the dispatch; rows beyond those that came
            are ignored, and their gradient is 0.
        handle: of the dispatch.

    Returns:
        [tokens, hidden] in the type of ``x``; 0 for a token without an expert.

    Raises:
        CrossdockError: as ``Buffer.combine``; and from the backward pass as ``Buffer.dispatch``,
            ArgumentError for ``create_graph=True``, DestroyedError when the Buffer is gone.
    """
    known = _expect_handle(handle)
    combined: Tensor = _Combine.apply(  # type: ignore[no-untyped-call]
        known.buffer, known.raw, x, known.link
    )
    return combined


class _Dispatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        buffer: Buffer,
        choices: tuple[Tensor, int, int],
        x: Tensor,
        topk_weights: Tensor,
        link: Tensor,
    ) -> tuple[Any, ...]:
        topk_idx, num_experts, alignment = choices
        try:
            per_rank, per_node, per_expert, in_rank, laid_out = buffer.get_dispatch_layout(
                topk_idx.contiguous(), num_experts
            )
        except CrossdockError:
            _tell_refusal(buffer)
            raise
        laid_out.current_stream_wait()
        rows, idx, weights, counts, raw, event = buffer.dispatch(
            x.contiguous(),
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=topk_idx.contiguous(),
            topk_weights=topk_weights.contiguous(),
            expert_alignment=alignment,
        )
        event.current_stream_wait()
        ctx.buffer, ctx.raw = buffer, raw
        ctx.save_for_backward(idx)
        # An x in one tensor comes as one, and weights that are sent come.
        recv_x, weights = _whole(cast(Tensor, rows)), _whole(cast(Tensor, weights))
        wants_x, wants_weights = ctx.needs_input_grad[2:4]
        constant = ((idx, True), (recv_x, not wants_x), (weights, not wants_weights))
        ctx.mark_non_differentiable(*(tensor for tensor, is_constant in constant if is_constant))
        return recv_x, idx, weights, torch.zeros_like(link), counts, raw

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor, *others: Any) -> tuple[Any, ...]:
        wants_x, wants_weights = ctx.needs_input_grad[2:4]
        if not wants_x and not wants_weights:
            return (None,) * 5
        weights = None
        if wants_weights:
            # Where the expert is elsewhere the weight that came is the constant 0.
            (idx,) = ctx.saved_tensors
            weights = others[1].masked_fill(idx < 0, 0.0)
        back, weights = _combined(ctx, "dispatch", grad_x, weights)
        return None, None, back if wants_x else None, weights, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, buffer: Buffer, raw: object, x: Tensor, link: Tensor) -> Tensor:
        del link  # only its gradient is of use
        rows = x.contiguous() if isinstance(x, Tensor) else x
        combined, _, event = buffer.combine(rows, raw)  # which refuses what is no tensor
        ctx.buffer, ctx.raw, ctx.rows = buffer, raw, rows.shape[0]
        event.current_stream_wait()
        return _whole(combined)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        # Not skipped where x needs no gradient: the other ranks may have experts that do.
        with _passing_back("combine"):
            back, *_, event = ctx.buffer.dispatch(grad.contiguous(), handle=ctx.raw)
            event.current_stream_wait()
        link = grad.new_zeros((), dtype=torch.float32)
        if not ctx.needs_input_grad[2]:
            return None, None, None, link
        ignored = ctx.rows - back.shape[0]
        if ignored:
            back = torch.nn.functional.pad(back, (0, 0, 0, ignored))
        return None, None, back, link


def _combined(
    ctx: Any, name: str, grad_x: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The sums over ranks of the gradients of rows and weights."""
    with _passing_back(name):
        back, summed, event = ctx.buffer.combine(
            grad_x.contiguous(),
            ctx.raw,
            topk_weights=None if weights is None else weights.contiguous(),
        )
        event.current_stream_wait()
    return back, summed


@contextlib.contextmanager
def _passing_back(name: str) -> Iterator[None]:
    """What stands in the way of a backward pass is said in the words of who called it."""
    if torch.is_grad_enabled():
        raise ArgumentError(
            f"the gradient of {name} has no gradient of its own; call backward without "
            "create_graph=True"
        )
    try:
        yield
    except DestroyedError as error:
        raise DestroyedError(
            f"backward of {name}: {error}; keep the Buffer until the backward pass has run"
        ) from error


def _tell_refusal(buffer: Buffer) -> None:
    """Take part in the dispatch with nothing that could be sent: the other ranks, which are in it
    already, learn that this one refuses its arguments.
    """
    with contextlib.suppress(CrossdockError):
        buffer.dispatch(cast(Tensor, None))


def _whole(tensor: Tensor) -> Tensor:
    """The same memory, but no view: autograd refuses to change views that a Function returns, and
    callers may well write ``out += residual``.
    """
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return whole.set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride()
    )


def _leaf(x: Tensor) -> Tensor:
    """What makes all that follows part of the graph, on every rank alike."""
    return torch.zeros((), dtype=torch.float32, device=x.device, requires_grad=True)


def _expect_handle(handle: object) -> TrainingHandle:
    if not isinstance(handle, TrainingHandle):
        raise ArgumentError(
            f"handle is a {type(handle).__name__}, but must be the handle of autograd.dispatch"
        )
    return handle
