"""The low-latency mode of a Buffer on a GPU; its interface is that of ``LowLatencyMode``."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch

from crossdock.ep import _native
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.launch import Launcher, Round
from crossdock.ep.gpu.rows import aligned
from crossdock.ep.gpu.side import Side
from crossdock.ep.gpu.watch import Watch
from crossdock.ep.low_latency import Combined, Dispatched, Hook, Received, expect_room, once
from crossdock.ep.low_latency_arguments import (
    CombineArguments,
    DispatchArguments,
    LowLatencyHandle,
    LowLatencyRound,
    expect_open,
)
from crossdock.ep.stream import EventOverlap
from crossdock.ep.tensors import FP8
from crossdock.proxy.errors import ArgumentError, CapacityError, CrossdockError


class GpuLowLatencyMode:
    """Launches kernels on the caller's stream, or with ``async_finish`` on one of its own.

    What goes wrong on the device is raised by the next call. Calls may be captured in a graph:
    which half of the region a round uses is decided on the device.
    """

    def __init__(self, device: Device, engine: _native.Engine, watch: Watch) -> None:
        self.device = device
        self._engine = engine
        self._watch = watch
        self._launchers: dict[tuple[int, ...], Launcher] = {}
        self._tokens_end = 0
        self._rounds = 0
        self._live: list[weakref.ref[LowLatencyRound] | LowLatencyRound | None] = [None, None]
        self._side = Side(device.platform)

    def dispatch(
        self, arguments: DispatchArguments, async_finish: bool, return_recv_hook: bool
    ) -> Dispatched:
        """See ``Buffer.low_latency_dispatch``."""
        self._watch.raise_if_failed()
        if self._is_busy(self._rounds & 1):
            raise CapacityError(
                "a third live low-latency result: at most two may be live; combine the oldest, or "
                "drop its handle; every hook must be called"
            )
        self.expect_room(arguments.shape)
        self._expect_same_reach(arguments.shape)
        launcher = self._launcher(arguments.shape)
        results = _Results(self.device, arguments)
        begun = results.handle.round
        kernels = launcher.new_round(arguments.x.shape[0])
        begun.kernels = kernels
        self._live[self._rounds & 1] = begun
        half = begun.half = self._rounds & 1
        self._rounds += 1

        def receive() -> None:
            launcher.receive(
                kernels, results.rows, results.scales, results.count, *results.handle[:2],
                arguments.statistics, arguments.wait_us,
            )  # fmt: skip
            begun.received = True
            self._live[half] = weakref.ref(begun)
            self._raise_now(begun)

        event, hook = self._in_two_parts(
            lambda: launcher.send(kernels, arguments.x, begun.topk_idx),
            receive,
            [
                *(arguments.x, begun.topk_idx, arguments.statistics, arguments.wait_us),
                *kernels.tensors,
                *results.tensors,
            ],
            async_finish,
            return_recv_hook,
        )
        return results.x, results.count, results.handle, event, hook

    def combine(
        self, arguments: CombineArguments, async_finish: bool, return_recv_hook: bool
    ) -> Combined:
        """See ``Buffer.low_latency_combine``."""
        self._watch.raise_if_failed()
        begun = arguments.round
        if arguments.zero_copy:
            expected = self.combine_buffer(begun)
            if arguments.x.data_ptr() != expected.data_ptr():
                raise ArgumentError(
                    "zero_copy needs x to be the tensor that "
                    "get_next_low_latency_combine_buffer(handle) returned"
                )
        launcher = self._launcher(begun.shape)
        kernels: Round = begun.kernels
        use_logfmt = arguments.use_logfmt
        arguments.x = aligned(arguments.x)
        begun.combined = True

        def receive() -> None:
            launcher.reduce(
                kernels,
                begun.topk_idx,
                arguments.topk_weights,
                arguments.out,
                arguments.wait_us,
                use_logfmt,
            )
            begun.finished = True
            arguments.forget_x()
            self._raise_now(begun)

        event, hook = self._in_two_parts(
            lambda: launcher.give_back(kernels, arguments.x, use_logfmt),
            receive,
            [
                *(arguments.x, begun.topk_idx, arguments.topk_weights),
                *(arguments.out, arguments.wait_us),
                *kernels.tensors,
            ],
            async_finish,
            return_recv_hook,
        )
        return arguments.out, event, hook

    def combine_buffer(self, begun: LowLatencyRound) -> torch.Tensor:
        """bf16 [local experts, ranks * max tokens, hidden], for a combine with zero_copy."""
        expect_open(begun)
        shape, size = begun.shape, self.device.communicator.size
        start = begun.half * self._engine.low_latency_half_bytes()
        start += _native.low_latency_layout(shape, size).out_results
        dims = (shape.num_experts // size, size * shape.max_tokens, shape.hidden)
        flat = self.device.region_tensor(start, 2 * dims[0] * dims[1] * dims[2])
        return flat.view(torch.bfloat16).view(dims)

    def expect_room(self, shape: _native.LowLatencyShape) -> None:
        """CapacityError unless the region holds two rounds of this shape."""
        expect_room(self._engine, shape)

    def clean(self) -> None:
        """Let the next rounds have any shape. Collective."""
        if self._is_busy(0) or self._is_busy(1):
            raise ArgumentError(
                "a low-latency result is live; combine it, or drop its handle, before cleaning"
            )
        self._watch.raise_if_failed()
        with self.device.host_rings():
            self.device.communicator.fence()
            self.device.communicator.barrier()
            self.device.communicator.fence()
        self._tokens_end = 0

    def _expect_same_reach(self, shape: _native.LowLatencyShape) -> None:
        end = _native.low_latency_layout(shape, self.device.communicator.size).tokens_end
        if self._tokens_end and end > self._tokens_end:
            raise ArgumentError(
                "more or longer tokens than before would overwrite results that a rank may still "
                "wait for; call clean_low_latency_buffer on all ranks first"
            )
        self._tokens_end = end

    def _launcher(self, shape: _native.LowLatencyShape) -> Launcher:
        key = (shape.max_tokens, shape.hidden, shape.num_experts, shape.topk, shape.format)
        if key not in self._launchers:
            self._launchers[key] = Launcher(self.device, self._engine, shape)
        return self._launchers[key]

    def _is_busy(self, half: int) -> bool:
        kept = self._live[half]
        begun = kept() if isinstance(kept, weakref.ref) else kept
        return begun is not None and not begun.finished

    def _raise_now(self, begun: LowLatencyRound) -> None:
        """In the interpreter a kernel is over when it was launched; a round that failed, too."""
        if self.device.platform.backend != "interpreter":
            return
        try:
            self._watch.raise_if_failed()
        except CrossdockError:
            begun.finished = True
            raise

    def _in_two_parts(
        self,
        send: Callable[[], None],
        receive: Callable[[], None],
        used: Sequence[torch.Tensor | None],
        async_finish: bool,
        return_recv_hook: bool,
    ) -> tuple[EventOverlap, Hook | None]:
        """Launch both parts, or the first, and the second by the hook; `used` are their tensors."""
        if return_recv_hook:
            self._launch_here(send)
            return EventOverlap(), once(lambda: self._launch_here(receive))
        if not async_finish:
            self._launch_here(send, receive)
            return EventOverlap(), None
        with self._side.behind(*used):
            self._launch(send, receive)
            return self._event(), None

    def _launch_here(self, *parts: Callable[[], None]) -> None:
        """On the caller's stream, behind an ``async_finish`` that nobody has waited for."""
        if not self.device.platform.is_capturing():  # a graph knows only the streams that it forked
            self._side.join()
        self._launch(*parts)

    def _launch(self, *parts: Callable[[], None]) -> None:
        with self.device.launching():
            for part in parts:
                part()

    def _event(self) -> EventOverlap:
        return EventOverlap(self.device.platform.event(self._watch.raise_if_failed))


class _Results:
    """The tensors that a dispatch fills."""

    def __init__(self, device: Device, arguments: DispatchArguments) -> None:
        shape = arguments.shape
        ranks = device.communicator.size
        experts, rows = shape.num_experts // ranks, ranks * shape.max_tokens

        def new(dtype: torch.dtype, *size: int) -> torch.Tensor:
            return torch.empty(size, dtype=dtype, device=device.platform.device)

        dtype = torch.bfloat16 if shape.format == 0 else FP8
        self.rows = new(dtype, experts, rows, shape.hidden)
        self.scales: torch.Tensor | None = None
        self.x: Received = self.rows
        if shape.format:
            columns, kind = arguments.scales_of()
            # Column-major: the rows of one scale lie side by side.
            self.scales = new(kind, experts, columns, rows)
            self.x = (self.rows, self.scales.transpose(1, 2))
        self.count = new(torch.int32, experts)
        self.handle = LowLatencyHandle.of(
            new(torch.int32, experts, rows),
            new(torch.int64, experts, ranks),
            shape,
            device.communicator,
            arguments.topk_idx,
        )

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        """All of them."""
        return (self.rows, self.scales, self.count, *self.handle[:2])
