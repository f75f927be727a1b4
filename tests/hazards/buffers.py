"""Buffers that are quick to build, and inputs that tell who sent what, and when."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.harness import RankContext
from tests.networks import NETWORK
from torch import Tensor

from crossdock.ep import Buffer, Config
from crossdock.ep.low_latency import LowLatencyMode
from crossdock.proxy import Options

HIDDEN = 256
MAX_TOKENS = 64
LOCAL_EXPERTS = 4
TOPK = 4
# (transport, proxy threads): what must behave alike. With 0 threads waiters run the proxies.
WAYS = [("shm", 0), ("shm", 1), (NETWORK, 0), (NETWORK, 1)]
EACH_WAY = pytest.mark.parametrize(("transport", "threads"), WAYS)


def build(
    rank: RankContext,
    transport: str = "auto",
    threads: int = 0,
    *,
    group: object = None,
    max_tokens: int = MAX_TOKENS,
    hidden: int = HIDDEN,
    local_experts: int = LOCAL_EXPERTS,
    num_nvl_bytes: int | None = None,
    num_rdma_bytes: int | None = None,
    enable_shrink: bool = False,
    **options: Any,
) -> Buffer:
    """A Buffer of all ranks for both modes, on ``group`` or an exchange of their own."""
    torch.set_num_threads(1)
    experts = local_experts * rank.size
    if num_nvl_bytes is None:
        num_nvl_bytes = Config().get_nvl_buffer_size_hint(1, rank.size)
    if num_rdma_bytes is None:
        num_rdma_bytes = Buffer.get_low_latency_rdma_size_hint(
            max_tokens, hidden, rank.size, experts
        )
    chosen: dict[str, Any] = {"pin": False, "timeout_s": 10.0}
    return Buffer(
        rank.exchange() if group is None else group,
        num_nvl_bytes,
        num_rdma_bytes,
        low_latency_mode=True,
        enable_shrink=enable_shrink,
        options=Options(transport=transport, proxy_threads=threads, **(chosen | options)),  # type: ignore[arg-type]
    )


@contextlib.contextmanager
def built(rank: RankContext, *args: Any, **more: Any) -> Iterator[Buffer]:
    """A Buffer that is destroyed when the block ends well, and aborted when it does not."""
    buffer = build(rank, *args, **more)
    try:
        yield buffer
    except BaseException:
        buffer.communicator.abort()
        raise
    buffer.destroy()


def rows(tokens: int, value: float, hidden: int = HIDDEN) -> Tensor:
    """Rows of one value, which says who sent them."""
    return torch.full((tokens, hidden), value, dtype=torch.bfloat16)


def routes(tokens: int, num_experts: int, topk: int = TOPK, seed: int = 0) -> Tensor:
    """Distinct experts for each token, chosen by chance."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(tokens, num_experts, generator=generator).argsort(1)
    return order[:, :topk].contiguous()


def routes_to(rank: int, tokens: int) -> Tensor:
    """All experts of one rank, for each token."""
    first = LOCAL_EXPERTS * rank
    return torch.arange(first, first + LOCAL_EXPERTS).repeat(tokens, 1)


def even_weights(idx: Tensor) -> Tensor:
    """Weights of which those of a token sum up to one."""
    return torch.full(idx.shape, 1 / idx.shape[1])


def dispatch(buffer: Buffer, x: Tensor, idx: Tensor, num_experts: int, **more: Any) -> Any:
    """A normal dispatch with its layout."""
    per_rank, per_node, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, num_experts)
    return buffer.dispatch(
        x,
        num_tokens_per_rank=per_rank,
        num_tokens_per_rdma_rank=per_node,
        is_token_in_rank=in_rank,
        num_tokens_per_expert=per_expert,
        topk_idx=idx,
        topk_weights=even_weights(idx),
        **more,
    )


def low_latency_dispatch(
    buffer: Buffer, x: Tensor, idx: Tensor, max_tokens: int = MAX_TOKENS, **more: Any
) -> Any:
    """A low-latency dispatch of rows as they are."""
    experts = LOCAL_EXPERTS * buffer.group_size
    return buffer.low_latency_dispatch(x, idx, max_tokens, experts, use_fp8=False, **more)


def values_of(x: Tensor) -> list[float]:
    """The values in a tensor, each once."""
    return sorted(set(x.float().flatten().tolist()))


def check_both_modes(buffer: Buffer) -> None:
    """A round in each mode brings every token back as it was, times the ranks that it visited."""
    experts = LOCAL_EXPERTS * buffer.group_size
    idx = routes_to(buffer.rank ^ (buffer.group_size > 1), 8)
    x = rows(8, buffer.rank + 1)
    received, _, _, _, handle, _ = dispatch(buffer, x, idx, experts)
    assert torch.equal(buffer.combine(received, handle)[0], x)
    arrived, _, known, _, _ = low_latency_dispatch(buffer, x, idx)
    assert torch.equal(buffer.low_latency_combine(arrived, idx, even_weights(idx), known)[0], x)


def limit_low_latency(buffer: Buffer, seconds: float) -> None:
    """Deadline of the waits of low-latency calls alone."""
    mode = buffer._low_latency
    assert isinstance(mode, LowLatencyMode)
    mode._timeout_s = seconds
