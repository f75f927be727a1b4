"""How kernels of the low-latency mode are launched: what is compiled in, on how many programs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from crossdock.ep import _native
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.tiles import TILE, chunk_of, power_of_two, tokens_at_once
from crossdock.ep.kernels import (
    low_latency_combine,
    low_latency_dispatch,
    low_latency_receive,
    waiting,
)
from crossdock.proxy.errors import ArgumentError

_PROGRAMS = 264
"""Two on each multiprocessor of the largest GPUs."""
_ROWS = 32
"""That a program places at once, at most."""
_LOGFMT_WORDS = 2048
"""Of a row to encode at once, at most: what registers hold."""
_ATOMIC = "atomic"
# Products are rounded before they are added, as on the CPU.
_EXACT = {"enable_fp_fusion": False}


@dataclasses.dataclass
class Round:
    """What the kernels of one round leave for each other, on the device."""

    index: torch.Tensor
    place_of: torch.Tensor
    result_slot: torch.Tensor
    sent: torch.Tensor
    expected: torch.Tensor
    arrived: torch.Tensor
    excused: torch.Tensor
    origin: torch.Tensor
    count: torch.Tensor

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All of them."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


class Launcher:
    """Launches for one shape. `tokens` of a round may vary."""

    def __init__(
        self, device: Device, engine: _native.Engine, shape: _native.LowLatencyShape
    ) -> None:
        self._device = device
        self._shape = shape
        self._rank = device.communicator.rank
        self._ranks = device.communicator.size
        self._half_bytes = engine.low_latency_half_bytes()
        self._layout = _native.low_latency_layout(shape, self._ranks)
        self._local = shape.num_experts // self._ranks
        self._k_lanes = power_of_two(shape.topk)
        self._rank_lanes = power_of_two(self._ranks)
        interpreted = device.platform.backend == "interpreter"
        self._share = 2 if interpreted else max(1, -(-_PROGRAMS // self._local))
        # Not when it is wanted: then a graph may be captured, in which nothing is copied.
        self._table = None if device.platform.is_capturing() else _log2_table(device)
        self._common = {"RANKS": self._ranks, "RANK_LANES": self._rank_lanes}
        self._rings = {
            "RINGS": device.num_rings,
            "CAPACITY": device.ring_slots,
        }

    def new_round(self, num_tokens: int) -> Round:
        """Memory for a round."""

        def new(dtype: torch.dtype, *size: int) -> torch.Tensor:
            return torch.empty(size, dtype=dtype, device=self._device.platform.device)

        topk, ranks = self._shape.topk, self._ranks
        return Round(
            index=new(torch.int64, 1),
            place_of=new(torch.int32, num_tokens, ranks),
            result_slot=new(torch.int32, num_tokens, topk),
            sent=new(torch.int32, ranks),
            expected=new(torch.int32, ranks),
            arrived=new(torch.int32, ranks),
            excused=new(torch.int32, ranks),
            origin=new(torch.int64, self._local * ranks * self._shape.max_tokens),
            count=new(torch.int32, self._local),
        )

    def send(self, begun: Round, x: torch.Tensor, topk_idx: torch.Tensor) -> None:
        """The sending part of a dispatch."""
        device, shape, layout = self._device, self._shape, self._layout
        view, state = device.view, device.state
        tokens = x.shape[0]
        formats = {"HIDDEN": shape.hidden, "FORMAT": shape.format, "K": shape.topk}
        self._await(state[:1], begun, _native.CREDIT_COUNTER, from_round=2)
        low_latency_dispatch.begin[(self._ranks,)](
            view, state, topk_idx, begun.excused, begun.index, begun.place_of,
            begun.result_slot, begun.sent, begun.expected, tokens,
            RANKS=self._ranks, LOCAL=self._local, K=shape.topk, K_LANES=self._k_lanes,
            TOKENS=tokens_at_once(self._k_lanes), num_warps=8,
        )  # fmt: skip
        if tokens:
            blocks = min(TILE // 128, power_of_two(-(-shape.hidden // 128)))
            low_latency_dispatch.send[(tokens,)](
                view, state, x, topk_idx, begun.index, begun.place_of,
                self._half_bytes, device.carried_at, layout.tokens, layout.out_tokens,
                layout.slot_bytes, shape.max_tokens,
                RANK=self._rank, **self._common, **formats, K_LANES=self._k_lanes, BLOCKS=blocks,
                **self._rings, FENCE_BY=_ATOMIC,
                num_warps=8, **_EXACT,
            )  # fmt: skip
        low_latency_dispatch.seal[(device.num_rings,)](
            view, state, begun.index, begun.excused, begun.sent,
            self._half_bytes, device.carried_at, layout.headers, layout.out_headers,
            shape.max_tokens, shape.num_experts,
            RANK=self._rank, **self._common, **formats, **self._rings,
            FENCE_BY=device.platform.backend, num_warps=1,
        )  # fmt: skip

    def receive(
        self,
        begun: Round,
        rows: torch.Tensor,
        scales: torch.Tensor | None,
        count: torch.Tensor,
        src_info: torch.Tensor,
        layout_range: torch.Tensor,
        statistics: torch.Tensor | None,
        wait_us: torch.Tensor | None,
    ) -> None:
        """The receiving part of a dispatch."""
        device, shape, layout = self._device, self._shape, self._layout
        formats = {"HIDDEN": shape.hidden, "FORMAT": shape.format, "K": shape.topk}
        self._await(begun.index, begun, _native.TOKEN_COUNTER, wait_us=wait_us)
        tokens = min(power_of_two(shape.max_tokens), TILE // self._k_lanes)
        sources = min(self._rank_lanes, TILE // (tokens * self._k_lanes))
        low_latency_receive.place[(self._local,)](
            device.view, begun.index, begun.arrived, begun.count, count, layout_range, src_info,
            begun.origin, begun.count if statistics is None else statistics,
            self._half_bytes, layout.headers, layout.tokens, layout.slot_bytes, shape.max_tokens,
            shape.num_experts,
            COUNTED=statistics is not None, RANK=self._rank, RANKS=self._ranks, LOCAL=self._local,
            **formats, K_LANES=self._k_lanes, SOURCES=sources, TOKENS=tokens,
            ROWS=min(_ROWS, tokens_at_once(self._k_lanes)), num_warps=8,
        )  # fmt: skip
        low_latency_receive.unpack[(self._local * self._share,)](
            device.view, device.state, begun.index, begun.excused, begun.count, begun.origin,
            rows.view(torch.uint8), rows.view(torch.uint8) if scales is None else scales,
            self._half_bytes, layout.tokens, layout.slot_bytes, shape.max_tokens,
            SHARE=self._share, **self._common, LOCAL=self._local, **formats,
            CHUNK=chunk_of(rows.shape[-1] * rows.element_size()),
            SCALE_LANES=power_of_two(max(1, shape.hidden // 128)), **self._rings,
            FENCE_BY=_ATOMIC,
        )  # fmt: skip

    def give_back(self, begun: Round, x: torch.Tensor, use_logfmt: bool) -> None:
        """The sending part of a combine."""
        device, shape, layout = self._device, self._shape, self._layout
        chunk = chunk_of(2 * shape.hidden)
        low_latency_combine.give_back[(self._local * self._share,)](
            device.view, device.state, x, self._log2_of(x, use_logfmt), begun.index,
            begun.excused, begun.count, begun.origin,
            self._half_bytes, device.carried_at, layout.results, layout.results_per_token,
            layout.out_results, shape.max_tokens,
            SHARE=self._share, **self._common, LOCAL=self._local, HIDDEN=shape.hidden,
            LOGFMT=use_logfmt, CHUNK=min(chunk, _LOGFMT_WORDS) if use_logfmt else chunk,
            **self._rings, FENCE_BY=_ATOMIC,
        )  # fmt: skip

    def reduce(
        self,
        begun: Round,
        topk_idx: torch.Tensor,
        topk_weights: torch.Tensor,
        out: torch.Tensor,
        wait_us: torch.Tensor | None,
        use_logfmt: bool,
    ) -> None:
        """The receiving part of a combine."""
        shape, layout = self._shape, self._layout
        self._await(begun.index, begun, _native.RESULT_COUNTER, sealed=False, wait_us=wait_us)
        if not out.shape[0]:
            return
        chunk = min(1024, power_of_two(shape.hidden))
        low_latency_combine.reduce[(out.shape[0], -(-shape.hidden // chunk))](
            self._device.view, out.view(torch.int16), begun.index, topk_idx, topk_weights,
            begun.result_slot, begun.arrived, self._half_bytes, layout.results,
            layout.results_per_token,
            HIDDEN=shape.hidden, LOCAL=self._local, K=shape.topk, LOGFMT=use_logfmt, CHUNK=chunk,
            **_EXACT,
        )  # fmt: skip

    def _await(
        self,
        index: torch.Tensor,
        begun: Round,
        counter: int,
        *,
        sealed: bool = True,
        from_round: int = 0,
        wait_us: torch.Tensor | None = None,
    ) -> None:
        timed: Any = begun.index if wait_us is None else wait_us
        waiting.await_counters[(1,)](
            self._device.view, self._device.state, index, begun.expected, begun.arrived,
            begun.excused, timed,
            INDEX=counter, SEALED=sealed, FROM_ROUND=from_round, TIMED=wait_us is not None,
            **self._common, NUM_COUNTERS=_native.NUM_COUNTERS,
            BACKEND=self._device.platform.backend, num_warps=1,
        )  # fmt: skip

    def _log2_of(self, x: torch.Tensor, use_logfmt: bool) -> torch.Tensor:
        if not use_logfmt:
            return x
        if self._table is None:
            if self._device.platform.is_capturing():
                raise ArgumentError(
                    "use_logfmt in a graph whose shape was never dispatched before: dispatch once "
                    "with this shape before the graph is captured"
                )
            self._table = _log2_table(self._device)
        return self._table


def _log2_table(device: Device) -> torch.Tensor:
    """The table for LogFMT: of each bf16 magnitude its logarithm, rounded once; 0 of 0."""
    bits = torch.arange(1 << 15, dtype=torch.int32, device="cpu").to(torch.int16)
    table = bits.view(torch.bfloat16).double().log2().float()
    table[0] = 0
    return table.to(device.platform.device)
