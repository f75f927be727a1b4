"""crossdock's own ways: a Buffer over one transport, in each mode."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from crossdock.bench.record import OURS
from crossdock.bench.way import Way
from crossdock.bench.workload import (
    BF16_BYTES,
    Arrived,
    Shape,
    experts_output,
    inputs_of,
    packed,
)
from crossdock.ep import Buffer, Config
from crossdock.proxy import Options


def our_way(shape: Shape, rank: int, transport: str) -> Way:
    """A way over `transport`; collective."""
    options = Options.from_environment(transport=transport)
    kind = NormalWay if shape.mode == "normal" else LowLatencyWay
    return kind(f"{OURS} {transport}", shape, rank, options)


class NormalWay:
    """``dispatch`` and ``combine``; the layout counts as part of dispatch, as in the baselines."""

    exact = True

    def __init__(self, name: str, shape: Shape, rank: int, options: Options) -> None:
        self.name = name
        self._rank = rank
        self._shape = shape
        self._inputs = inputs_of(shape, rank)
        hint = Config(20).get_nvl_buffer_size_hint(shape.hidden * BF16_BYTES, shape.ranks)
        self._buffer = Buffer(
            dist.group.WORLD, hint, explicitly_destroy=True, device="cpu", options=options
        )
        self._handle: Any = None
        self._arrived: Arrived | None = None

    def dispatch(self) -> None:
        """See ``Way.dispatch``."""
        inputs, buffer = self._inputs, self._buffer
        per_rank, per_node, per_expert, in_rank, _ = buffer.get_dispatch_layout(
            inputs.topk_idx, self._shape.experts
        )
        received, idx, weights, counts, self._handle, _ = buffer.dispatch(
            inputs.values if inputs.scales is None else (inputs.values, inputs.scales),
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=inputs.topk_idx,
            topk_weights=inputs.topk_weights,
        )
        rows, scales = received if isinstance(received, tuple) else (received, None)
        if idx is None or counts is None:
            raise RuntimeError("dispatch was given top-k and must return it")
        self._arrived = Arrived(rows, scales, idx, weights, torch.tensor(counts))

    def arrived(self) -> Arrived:
        """See ``Way.arrived``."""
        if self._arrived is None:
            raise RuntimeError("dispatch comes first")
        return self._arrived

    def output(self) -> Tensor:
        """See ``Way.output``."""
        arrived = self.arrived()
        return experts_output(arrived.rows, arrived.scales, self._rank)

    def combine(self, output: Tensor) -> Tensor:
        """See ``Way.combine``."""
        combined, _, _ = self._buffer.combine(output, self._handle)
        return combined

    def forget(self) -> None:
        """See ``Way.forget``."""
        self._arrived = self._handle = None

    def close(self) -> None:
        """See ``Way.close``."""
        self.forget()
        self._buffer.destroy()


class LowLatencyWay:
    """``low_latency_dispatch`` and ``low_latency_combine``, without hooks."""

    exact = True

    def __init__(self, name: str, shape: Shape, rank: int, options: Options) -> None:
        self.name = name
        self._rank = rank
        self._shape = shape
        self._inputs = inputs_of(shape, rank)
        hint = Buffer.get_low_latency_rdma_size_hint(
            shape.tokens, shape.hidden, shape.ranks, shape.experts
        )
        self._buffer = Buffer(
            dist.group.WORLD,
            0,
            hint,
            low_latency_mode=True,
            explicitly_destroy=True,
            device="cpu",
            options=options,
        )
        self._handle: Any = None
        self._rows: Tensor | None = None
        self._scales: Tensor | None = None
        self._counts = torch.zeros(shape.local_experts, dtype=torch.int32)
        self._output = torch.zeros(
            shape.local_experts, shape.ranks * shape.tokens, shape.hidden, dtype=torch.bfloat16
        )

    def dispatch(self) -> None:
        """See ``Way.dispatch``."""
        shape = self._shape
        received, self._counts, self._handle, _, _ = self._buffer.low_latency_dispatch(
            self._inputs.x,
            self._inputs.topk_idx,
            shape.tokens,
            shape.experts,
            use_fp8=shape.dtype == "fp8",
        )
        self._rows, self._scales = received if isinstance(received, tuple) else (received, None)

    def arrived(self) -> Arrived:
        """See ``Way.arrived``."""
        src_info, layout_range = self._handle[:2]
        return packed(self._there(), self._scales, self._counts, src_info, layout_range)

    def output(self) -> Tensor:
        """See ``Way.output``: only rows that came are set."""
        rows = self._there()
        for local, count in enumerate(self._counts.tolist()):
            scales = None if self._scales is None else self._scales[local, :count].contiguous()
            self._output[local, :count] = experts_output(rows[local, :count], scales, self._rank)
        return self._output

    def combine(self, output: Tensor) -> Tensor:
        """See ``Way.combine``."""
        combined, _, _ = self._buffer.low_latency_combine(
            output, self._inputs.topk_idx, self._inputs.topk_weights, self._handle
        )
        return combined

    def forget(self) -> None:
        """See ``Way.forget``."""
        self._rows = self._scales = self._handle = None

    def close(self) -> None:
        """See ``Way.close``."""
        self.forget()
        self._buffer.destroy()

    def _there(self) -> Tensor:
        if self._rows is None:
            raise RuntimeError("dispatch comes first")
        return self._rows
