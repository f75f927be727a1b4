"""The low-latency mode of a Buffer: fixed places, no exchange of sizes, hooks."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from crossdock.ep import _native
from crossdock.ep.low_latency_arguments import (
    CombineArguments,
    DispatchArguments,
    LowLatencyHandle,
    LowLatencyRound,
    expect_open,
)
from crossdock.ep.outcomes import raise_mismatch, settle
from crossdock.ep.stream import CommStream, EventOverlap
from crossdock.ep.tensors import FP8, heap_tensor
from crossdock.proxy import Communicator
from crossdock.proxy.errors import ArgumentError, CapacityError

Hook = Callable[[], None]
Received = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
Dispatched = tuple[Received, torch.Tensor, LowLatencyHandle, EventOverlap, Hook | None]
Combined = tuple[torch.Tensor, EventOverlap, Hook | None]
MAIN_REGION = 0


def expect_room(engine: _native.Engine, shape: _native.LowLatencyShape) -> None:
    """CapacityError unless the region holds two rounds of this shape."""
    needed = 2 * engine.low_latency_needed_bytes(shape)
    have = 2 * engine.low_latency_half_bytes()
    if needed > have:
        raise CapacityError(
            f"the low-latency mode needs {needed} bytes for {shape.max_tokens} tokens, hidden "
            f"{shape.hidden}, {shape.num_experts} experts, but the Buffer has {have}; build it "
            "with num_rdma_bytes=Buffer.get_low_latency_rdma_size_hint(...)"
        )


class LowLatencyMode:
    """Runs low-latency dispatch and combine.

    A rank whose own arguments are wrong gets its error at once and has done nothing: it may call
    again, rightly, while the others wait.
    """

    def __init__(
        self,
        communicator: Communicator,
        engine: _native.Engine,
        stream: CommStream,
        masking: bool,
    ) -> None:
        self._communicator = communicator
        self._engine = engine
        self._stream = stream
        self._masking = masking
        self._timeout_s = communicator.options.timeout_s
        self._rounds = 0
        # Held while rows are under way: such a round is live although the caller has dropped it.
        self._live: list[weakref.ref[LowLatencyRound] | LowLatencyRound | None] = [None, None]

    def dispatch(
        self, arguments: DispatchArguments, async_finish: bool, return_recv_hook: bool
    ) -> Dispatched:
        """See ``Buffer.low_latency_dispatch``."""
        self._expect_free_half()
        self.expect_room(arguments.shape)
        if not self._engine.low_latency_may_begin(arguments.shape, self._rounds & 1):
            raise ArgumentError(
                "more or longer tokens than two rounds ago would overwrite results that a rank may "
                "still wait for; call clean_low_latency_buffer on all ranks first"
            )
        results = _Results(self._communicator, arguments)
        begun = results.handle.round
        self._live[self._rounds & 1] = begun
        self._rounds += 1

        def send() -> None:
            outcome = self._engine.low_latency_dispatch_send(
                arguments.native(), begun.native, self._timeout_s, self._masking
            )
            settle(self._communicator, outcome, "low-latency dispatch", self._timeout_s)

        def receive() -> None:
            ended = self._engine.low_latency_dispatch_receive(
                results.native, begun.native, self._timeout_s, self._masking
            )
            settle(self._communicator, ended.outcome, "low-latency dispatch", self._timeout_s)
            begun.received = True
            self._release(begun)
            if ended.mismatch is not None:
                begun.finished = True
            rank = self._communicator.rank
            raise_mismatch(ended.mismatch, arguments.shape, rank, "low-latency dispatch")

        event, hook = self._in_two_parts(send, receive, async_finish, return_recv_hook)
        return results.x, results.count, results.handle, event, hook

    def combine(
        self, arguments: CombineArguments, async_finish: bool, return_recv_hook: bool
    ) -> Combined:
        """See ``Buffer.low_latency_combine``."""
        begun = arguments.round
        given = arguments.native()
        if arguments.zero_copy:
            expected = self.combine_buffer(begun)
            if arguments.x.data_ptr() != expected.data_ptr():
                raise ArgumentError(
                    "zero_copy needs x to be the tensor that "
                    "get_next_low_latency_combine_buffer(handle) returned"
                )
            given.x = 0

        def send() -> None:
            outcome = self._engine.low_latency_combine_send(
                given, begun.native, self._timeout_s, self._masking
            )
            settle(self._communicator, outcome, "low-latency combine", self._timeout_s)

        def receive() -> None:
            outcome = self._engine.low_latency_combine_receive(
                given, begun.native, self._timeout_s, self._masking
            )
            settle(self._communicator, outcome, "low-latency combine", self._timeout_s)
            begun.finished = True
            arguments.forget_x()

        # Held until it is finished: its rows come in whether the hook is called or not.
        begun.combined = True
        self._live[begun.native.round & 1] = begun
        event, hook = self._in_two_parts(send, receive, async_finish, return_recv_hook)
        return arguments.out, event, hook

    def combine_buffer(self, begun: LowLatencyRound) -> torch.Tensor:
        """bf16 [local experts, ranks * max tokens, hidden] in the region, for zero-copy combine."""
        expect_open(begun)
        shape = begun.native.shape
        native = self._communicator.native  # kept: the engine refers to its memory
        size = self._communicator.size
        start = self._engine.low_latency_combine_buffer_at(begun.native)
        dims = (shape.num_experts // size, size * shape.max_tokens, shape.hidden)
        flat = torch.from_numpy(native.region_array(MAIN_REGION))
        return flat[start : start + 2 * dims[0] * dims[1] * dims[2]].view(torch.bfloat16).view(dims)

    def expect_room(self, shape: _native.LowLatencyShape) -> None:
        """CapacityError unless the region holds two rounds of this shape."""
        expect_room(self._engine, shape)

    def clean(self) -> None:
        """Let the next rounds have any shape. Collective."""
        if self._is_busy(0) or self._is_busy(1):
            raise ArgumentError(
                "a low-latency result is live; combine it, or drop its handle, before cleaning"
            )
        self._communicator.fence()
        self._communicator.barrier()
        self._engine.low_latency_clean()

    def _is_busy(self, half: int) -> bool:
        begun = self._live_in(half)
        return begun is not None and not begun.finished

    def _expect_free_half(self) -> None:
        if self._is_busy(self._rounds & 1):
            raise CapacityError(
                "a third live low-latency result: at most two may be live; combine the oldest, or "
                "drop its handle; every hook must be called"
            )

    def _live_in(self, half: int) -> LowLatencyRound | None:
        kept = self._live[half]
        return kept() if isinstance(kept, weakref.ref) else kept

    def _release(self, begun: LowLatencyRound) -> None:
        """From now on whoever holds the handle keeps the round alive."""
        self._live[begun.native.round & 1] = weakref.ref(begun)

    def _in_two_parts(
        self, send: Hook, receive: Hook, async_finish: bool, return_recv_hook: bool
    ) -> tuple[EventOverlap, Hook | None]:
        if return_recv_hook:
            self._stream.run(send)
            return EventOverlap(), once(lambda: self._stream.run(receive))

        def both() -> None:
            send()
            receive()

        if async_finish:
            return self._stream.submit(both), None
        self._stream.run(both)
        return EventOverlap(), None


class _Results:
    """The tensors that a dispatch fills."""

    def __init__(self, communicator: Communicator, arguments: DispatchArguments) -> None:
        shape = arguments.shape
        ranks = communicator.size
        experts, rows = shape.num_experts // ranks, ranks * shape.max_tokens
        self.native = native = _native.LowLatencyDispatchOutput()
        dtype = torch.bfloat16 if shape.format == 0 else FP8
        values, _ = heap_tensor(communicator, (experts, rows, shape.hidden), dtype)
        native.x = values.data_ptr()
        self.x: Received = values
        if shape.format:
            columns, kind = arguments.scales_of()
            # Column-major: the rows of one scale lie side by side.
            stored, _ = heap_tensor(communicator, (experts, columns, rows), kind)
            native.scales = stored.data_ptr()
            self.x = (values, stored.transpose(1, 2))
        self.count = torch.empty(experts, dtype=torch.int32, device="cpu")
        src_info = torch.empty((experts, rows), dtype=torch.int32, device="cpu")
        layout_range = torch.empty((experts, ranks), dtype=torch.int64, device="cpu")
        native.count = self.count.data_ptr()
        native.src_info = src_info.data_ptr()
        native.range = layout_range.data_ptr()
        if arguments.statistics is not None:
            native.statistics = arguments.statistics.data_ptr()
        if arguments.wait_us is not None:
            native.wait_us = arguments.wait_us.data_ptr()
        self.handle = LowLatencyHandle.of(
            src_info, layout_range, shape, communicator, arguments.topk_idx
        )


def once(receive: Hook) -> Hook:
    """A hook that does its work the first time it is called."""
    pending = [receive]

    def hook() -> None:
        if pending:
            pending.pop()()

    return hook
