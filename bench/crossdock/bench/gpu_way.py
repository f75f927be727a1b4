"""A Buffer on a GPU, and the rounds of the low-latency mode that it is measured by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from crossdock.bench.workload import Arrived, Shape, experts_output, inputs_of, packed, unpacked
from crossdock.ep import Buffer
from crossdock.proxy import Options

EAGER, GRAPH = "eager", "graph"


def captured(call: Callable[[], None]) -> tuple[torch.cuda.CUDAGraph, Callable[[], None]]:
    """A graph, and the call by which it does the same."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    return graph, graph.replay


class GpuWay:
    """Dispatch and combine at one shape; what the experts return is fixed by ``answer``."""

    def __init__(self, shape: Shape, rank: int, device: str, *, direct: bool) -> None:
        self._is_gpu = device != "interpreter"
        self._shape = shape
        self._rank = rank
        hint = Buffer.get_low_latency_rdma_size_hint(
            shape.tokens, shape.hidden, shape.ranks, shape.experts
        )
        self._buffer = Buffer(
            dist.group.WORLD,
            0,
            hint,
            low_latency_mode=True,
            explicitly_destroy=True,
            device=device,
            options=Options.from_environment(peer_access=direct),
        )
        inputs = inputs_of(shape, rank)
        here = self._buffer.device
        self._x = inputs.x.to(here)
        self._idx = inputs.topk_idx.to(here)
        self._weights = inputs.topk_weights.to(here)
        room = shape.ranks * shape.tokens
        self._output = torch.zeros(
            shape.local_experts, room, shape.hidden, dtype=torch.bfloat16, device=here
        )
        self._combined = torch.empty_like(self._x)
        self._received: Any = None
        self._count = torch.zeros(0, dtype=torch.int32)
        self._handle: Any = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def round(self) -> None:
        """A dispatch and a combine."""
        shape = self._shape
        self._received, self._count, self._handle, _, _ = self._buffer.low_latency_dispatch(
            self._x, self._idx, shape.tokens, shape.experts, use_fp8=shape.dtype == "fp8"
        )
        self._buffer.low_latency_combine(
            self._output, self._idx, self._weights, self._handle, out=self._combined
        )

    def calls(self) -> dict[str, Callable[[], None]]:
        """What is measured, by name."""
        calls = {EAGER: self.round}
        if self._is_gpu:
            self._graph, calls[GRAPH] = captured(self.round)
        return calls

    def arrived(self) -> Arrived:
        """What the last round has dispatched to this rank."""
        rows, scales = (
            self._received if isinstance(self._received, tuple) else (self._received, None)
        )
        return packed(
            rows.cpu(),
            None if scales is None else scales.cpu(),
            self._count.cpu(),
            self._handle[0].cpu(),
            self._handle[1].cpu(),
        )

    def answer(self) -> None:
        """Let the experts work on what arrived; the rounds from now on return that."""
        arrived = self.arrived()
        made = experts_output(arrived.rows, arrived.scales, self._rank)
        self._output.copy_(unpacked(made, arrived.counts, self._output.shape[1]))
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
        self._graph = self._received = self._handle = None
        self._buffer.destroy()
