"""A Buffer on a GPU, and the calls of the normal mode that it is measured by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from crossdock.bench.errors import BenchFailed
from crossdock.bench.gpu_way import EAGER, GRAPH, captured
from crossdock.bench.workload import BF16_BYTES, Arrived, Shape, experts_output, inputs_of
from crossdock.ep import Buffer, Config
from crossdock.proxy import Options

COUNTED = "counted"
_BESIDE_BYTES = 1024
"""Room beside each row, for indices, weights and scales."""


class GpuNormalWay:
    """Layout, dispatch and combine at one shape; what the experts return is fixed by ``answer``."""

    def __init__(self, shape: Shape, rank: int, device: str, *, direct: bool) -> None:
        self._is_gpu = device != "interpreter"
        self._shape = shape
        self._rank = rank
        self._worst = shape.ranks * shape.tokens
        row_bytes = shape.hidden * BF16_BYTES
        hint = Config().get_nvl_buffer_size_hint(row_bytes, shape.ranks)
        inbox_bytes = self._worst * (row_bytes + _BESIDE_BYTES) if direct else 0
        self._buffer = Buffer(
            dist.group.WORLD,
            hint,
            explicitly_destroy=True,
            device=device,
            options=Options.from_environment(inbox_bytes=inbox_bytes),
        )
        if direct and not self._buffer.writes_to_peers:
            raise BenchFailed(
                "direct: not every rank reaches the memory of every other; measure staged alone"
            )
        inputs = inputs_of(shape, rank)
        here = self._buffer.device
        values = inputs.values.to(here)
        self._x = values if inputs.scales is None else (values, inputs.scales.to(here))
        self._idx = inputs.topk_idx.to(here)
        self._weights = inputs.topk_weights.to(here)
        self._output = torch.zeros(self._worst, shape.hidden, dtype=torch.bfloat16, device=here)
        self._combined = torch.empty_like(self._output[: shape.tokens])
        self._received: Any = None
        self._graph: Any = None

    def round(self) -> None:
        """With room for all rows that may come, so that the host waits for nothing."""
        self._round(self._worst)

    def counted(self) -> None:
        """With room for what comes, which the host waits to hear."""
        self._round(0)

    def calls(self) -> dict[str, Callable[[], None]]:
        """What is measured, by name."""
        calls = {EAGER: self.round, COUNTED: self.counted}
        if self._is_gpu:
            self._graph, calls[GRAPH] = captured(self.round)
        return calls

    def arrived(self) -> Arrived:
        """What the last round has dispatched to this rank."""
        received, idx, weights, handle = self._received
        rows, scales = received if isinstance(received, tuple) else (received, None)
        count = handle.first_row[-1]
        experts = idx[:count].cpu()
        return Arrived(
            rows[:count].cpu(),
            None if scales is None else scales[:count].cpu(),
            experts,
            weights[:count].cpu(),
            torch.bincount(experts[experts >= 0], minlength=self._shape.local_experts),
        )

    def answer(self) -> None:
        """Let the experts work on what arrived; the rounds from now on return that."""
        arrived = self.arrived()
        made = experts_output(arrived.rows, arrived.scales, self._rank)
        self._output[: len(made)].copy_(made)
        self.round()

    def combined(self) -> Tensor:
        """The sums of the last round."""
        return self._combined.cpu()

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self._is_gpu:
            torch.cuda.synchronize()

    def close(self) -> None:
        """Give everything back; collective."""
        self._graph = self._received = None
        self._buffer.destroy()

    def _round(self, worst: int) -> None:
        per_rank, _, per_expert, in_rank, _ = self._buffer.get_dispatch_layout(
            self._idx, self._shape.experts
        )
        received, idx, weights, _, handle, _ = self._buffer.dispatch(
            self._x,
            num_tokens_per_rank=per_rank,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=self._idx,
            topk_weights=self._weights,
            num_worst_tokens=worst,
        )
        self._received = received, idx, weights, handle
        self._combined, _, _ = self._buffer.combine(self._output, handle)
