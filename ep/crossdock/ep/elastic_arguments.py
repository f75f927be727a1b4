"""What callers may pass to ``ElasticBuffer.dispatch``, checked before anything moves, and how it is
phrased as a dispatch of the normal mode.

What the normal mode does not carry, a token's number at its source for one, travels as one more
scale of each row.
"""

from __future__ import annotations

import dataclasses

import torch

from crossdock.ep import _native
from crossdock.ep.elastic_handle import EPHandle, checked_elastic_handle
from crossdock.ep.normal_arguments import (
    MAX_ROWS,
    MAX_SCALES,
    DispatchArguments,
    X,
    checked_dispatch,
)
from crossdock.ep.tensors import CPU, expect_experts, expect_tensor, expect_topk, expect_whole
from crossdock.proxy.errors import ArgumentError, CapacityError


@dataclasses.dataclass(frozen=True)
class Request:
    """A call of ``ElasticBuffer.dispatch``, as its caller made it."""

    x: X
    topk_idx: torch.Tensor | None
    topk_weights: torch.Tensor | None
    statistics: torch.Tensor | None
    num_experts: int | None
    num_max_tokens_per_rank: int | None
    expert_alignment: int | None
    num_sms: int
    handle: object
    do_handle_copy: bool
    do_cpu_sync: bool | None
    do_expand: bool
    do_zero_padding: bool
    column_major_scales: bool


@dataclasses.dataclass(frozen=True)
class ElasticArguments:
    """A checked dispatch, and the one of the normal mode that carries it."""

    normal: DispatchArguments
    handle: EPHandle | None
    topk_idx: torch.Tensor
    num_experts: int
    num_max_tokens_per_rank: int
    expert_alignment: int
    do_cpu_sync: bool
    scales: torch.Tensor | None
    has_weights: bool


def checked_elastic(
    request: Request, engine: _native.Engine, num_ranks: int, num_max_default: int
) -> ElasticArguments:
    """Arguments of ``ElasticBuffer.dispatch``, or ArgumentError, CapacityError."""
    if request.do_zero_padding and not request.do_expand:
        raise ArgumentError("do_zero_padding is an option of do_expand=True")
    if request.handle is not None:
        return _cached(request, checked_elastic_handle(request.handle, engine), engine, num_ranks)
    if request.topk_idx is None or request.num_experts is None:
        raise ArgumentError("topk_idx and num_experts are needed, or the handle of a dispatch")
    num_experts = expect_whole("num_experts", request.num_experts)
    expect_experts(num_experts, num_ranks)
    idx = expect_topk(request.topk_idx, None, num_experts)
    _expect_distinct(idx)
    if request.statistics is not None:
        name = "cumulative_local_expert_recv_stats"
        expect_tensor(name, request.statistics, [torch.int32], [num_experts // num_ranks])
    given = request.num_max_tokens_per_rank
    num_max = _checked_max(num_max_default if given is None else given, num_ranks)
    weights = request.topk_weights
    do_cpu_sync = request.do_cpu_sync is None or request.do_cpu_sync
    worst = 0 if do_cpu_sync or request.do_expand else num_max * num_ranks
    normal = checked_dispatch(
        request.x,
        None,
        num_ranks,
        engine,
        **_layout(engine, idx, num_experts, num_ranks),
        topk_idx=idx,
        topk_weights=torch.zeros_like(idx, dtype=torch.float32) if weights is None else weights,
        expert_alignment=1 if request.expert_alignment is None else request.expert_alignment,
        num_worst_tokens=worst,
        device=CPU,
    )
    _expect_few(normal.x, num_max)
    _expect_no_float32(normal.x)
    number = torch.arange(idx.shape[0], dtype=torch.int32, device=idx.device)
    return ElasticArguments(
        normal=_tagged(normal, number[:, None]),
        handle=None,
        topk_idx=idx.clone() if request.do_handle_copy else idx,
        num_experts=num_experts,
        num_max_tokens_per_rank=num_max,
        expert_alignment=normal.expert_alignment,
        do_cpu_sync=do_cpu_sync,
        scales=normal.scales,
        has_weights=weights is not None,
    )


def _cached(
    request: Request, handle: EPHandle, engine: _native.Engine, num_ranks: int
) -> ElasticArguments:
    if request.topk_idx is not None:
        raise ArgumentError("topk_idx is given, but with a handle it is that of its dispatch")
    if request.do_cpu_sync:
        raise ArgumentError("do_cpu_sync is True, but with a handle all counts are known already")
    if request.do_expand and not handle.do_expand:
        raise ArgumentError("do_expand is True, but the handle is of a dispatch without")
    for name in ("num_experts", "num_max_tokens_per_rank", "expert_alignment"):
        value, want = getattr(request, name), getattr(handle, name)
        if value is not None and value != want:
            raise ArgumentError(f"{name} is {value}, but {want} in the handle")
    num_tokens, topk = handle.topk_idx.shape
    exact = handle.num_recv_tokens == handle.num_arrived
    normal = checked_dispatch(
        request.x,
        handle.dispatched,
        num_ranks,
        engine,
        num_tokens_per_rank=None,
        is_token_in_rank=None,
        num_tokens_per_expert=None,
        topk_idx=None,
        topk_weights=None,
        expert_alignment=handle.expert_alignment,
        num_worst_tokens=0 if exact or request.do_expand else handle.num_recv_tokens,
    )
    _expect_no_float32(normal.x)
    tagged = normal
    if request.topk_weights is not None:
        shape = [num_tokens, topk]
        weights = expect_tensor("topk_weights", request.topk_weights, [torch.float32], shape)
        tagged = _tagged(normal, weights.view(torch.int32))
    return ElasticArguments(
        normal=tagged,
        handle=handle,
        topk_idx=handle.topk_idx,
        num_experts=handle.num_experts,
        num_max_tokens_per_rank=handle.num_max_tokens_per_rank,
        expert_alignment=handle.expert_alignment,
        do_cpu_sync=False,
        scales=normal.scales,
        has_weights=request.topk_weights is not None,
    )


def _layout(
    engine: _native.Engine, idx: torch.Tensor, num_experts: int, num_ranks: int
) -> dict[str, torch.Tensor]:
    num_nodes = engine.num_nodes
    per_rank, per_node, per_expert = (
        torch.empty(size, dtype=torch.int32, device="cpu")
        for size in (num_ranks, num_nodes, num_experts)
    )
    in_rank = torch.empty((idx.shape[0], num_ranks), dtype=torch.bool, device="cpu")
    engine.layout(
        idx.data_ptr(),
        idx.shape[0],
        idx.shape[1],
        num_experts,
        per_rank.data_ptr(),
        per_node.data_ptr() if num_nodes > 1 else 0,
        per_expert.data_ptr(),
        in_rank.data_ptr(),
    )
    return {
        "num_tokens_per_rank": per_rank,
        "is_token_in_rank": in_rank,
        "num_tokens_per_expert": per_expert,
    }


def _tagged(normal: DispatchArguments, tags: torch.Tensor) -> DispatchArguments:
    """``normal``, with int32 [tokens, any] behind the scales of its rows."""
    scales = tags
    if normal.scales is not None:
        scales = torch.cat([normal.scales.view(torch.int32), tags], dim=1)
    if scales.shape[1] > MAX_SCALES:
        raise CapacityError(
            f"x[1] has {scales.shape[1] - tags.shape[1]} scales for each token, the limit is "
            f"{MAX_SCALES - tags.shape[1]}"
        )
    return dataclasses.replace(normal, scales=scales)


def _expect_distinct(idx: torch.Tensor) -> None:
    """A row for each choice would otherwise go twice to an expert that counts the token once."""
    ordered = idx.sort(dim=1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if bool(twice.any()):
        token = int(twice.any(1).nonzero()[0])
        raise ArgumentError(
            f"topk_idx names an expert twice for token {token}: {idx[token].tolist()}"
        )


def _checked_max(num_max_tokens_per_rank: object, num_ranks: int) -> int:
    num_max = expect_whole("num_max_tokens_per_rank", num_max_tokens_per_rank)
    if num_max < 1:
        raise ArgumentError(
            f"num_max_tokens_per_rank is {num_max}, but must be positive; pass it here or to the "
            "constructor"
        )
    if num_max * num_ranks > MAX_ROWS:
        raise CapacityError(
            f"num_max_tokens_per_rank is {num_max}, the limit with {num_ranks} ranks is "
            f"{MAX_ROWS // num_ranks}"
        )
    return num_max


def _expect_no_float32(x: torch.Tensor) -> None:
    """The normal mode of ``Buffer`` moves such rows as well, the interface of DeepEP 2 does not."""
    if x.dtype == torch.float32:
        raise ArgumentError(f"x is {x.dtype}, but must be torch.bfloat16, or fp8 with its scales")


def _expect_few(x: torch.Tensor, num_max: int) -> None:
    if x.shape[0] > num_max:
        raise CapacityError(f"x has {x.shape[0]} tokens, but num_max_tokens_per_rank is {num_max}")
