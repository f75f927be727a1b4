"""The normal mode of a Buffer: high throughput, any number of tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from crossdock.ep import _native
from crossdock.ep._native import Refusal
from crossdock.ep.normal_arguments import (
    ROW_TYPES,
    CombineArguments,
    DispatchArguments,
    DispatchHandle,
    X,
)
from crossdock.ep.outcomes import REFUSED, cut_short, raise_disagreement, settle
from crossdock.ep.stream import CommStream, EventOverlap, expect_event
from crossdock.ep.tensors import heap_tensor
from crossdock.proxy import Communicator
from crossdock.proxy._native import Communicator as Native
from crossdock.proxy._native import FaultCode
from crossdock.proxy.errors import ArgumentError, CapacityError

T = TypeVar("T")
X_WINDOW = Native.FIRST_WINDOW
"""The region through which proxies read the caller's x."""

Dispatched = tuple[
    X,
    torch.Tensor | None,
    torch.Tensor | None,
    list[int] | None,
    DispatchHandle | None,
    EventOverlap,
]
Combined = tuple[torch.Tensor, torch.Tensor | None, EventOverlap]


class NormalMode:
    """Runs dispatch and combine. Every failure is an error on every rank."""

    def __init__(
        self, communicator: Communicator, engine: _native.Engine, stream: CommStream
    ) -> None:
        self._communicator = communicator
        self._engine = engine
        self._stream = stream
        self._timeout_s = communicator.options.timeout_s

    # ---- dispatch ---------------------------------------------------------------------------

    def dispatch(
        self,
        check: Callable[[], DispatchArguments],
        cached: bool,
        previous: object,
        async_finish: bool,
    ) -> Dispatched:
        """See ``Buffer.dispatch``. ``check`` returns the arguments or raises."""

        def run() -> Dispatched:
            begun = self._begin(lambda: _after(previous, check), cached)
            return begun.results(self._finish(begun.finish, async_finish))

        with cut_short(self._communicator.abort):
            return self._stream.run(run)

    def _finish(self, move: Callable[[], None], async_finish: bool) -> EventOverlap:
        if async_finish:
            return self._stream.submit(move)
        move()
        return EventOverlap()

    def _begin(self, check: Callable[[], DispatchArguments], cached: bool) -> _Dispatch:
        try:
            arguments = check()
        except REFUSED:
            self._refuse_dispatch(cached)
            raise
        dispatch = _Dispatch(self._communicator, self._engine, arguments, self._timeout_s)
        expert_rows = dispatch.announce()
        try:
            dispatch.allocate(expert_rows)
        except (CapacityError, ArgumentError) as error:
            dispatch.refuse(
                Refusal.MEMORY if isinstance(error, CapacityError) else Refusal.ARGUMENTS
            )
            raise
        return dispatch

    def _refuse_dispatch(self, cached: bool) -> None:
        """Take the part of the call that all ranks wait for, and tell them."""
        if self._is_over():
            return
        given = _native.DispatchInput()
        given.refusal = Refusal.ARGUMENTS
        given.cached = cached
        handle = self._empty_handle()
        if not cached:
            ended, _ = self._engine.announce(given, handle, self._timeout_s)
        else:
            places = _native.DispatchPlaces()
            places.refusal = Refusal.ARGUMENTS
            ended = self._engine.transfer(given, handle, places, self._timeout_s)
        settle(self._communicator, ended.outcome, "dispatch (refused here)", self._timeout_s)

    def _empty_handle(self) -> _native.NormalHandle:
        return _native.NormalHandle.empty(self._communicator.size, self._engine.num_nodes)

    # ---- combine ----------------------------------------------------------------------------

    def combine(
        self,
        check: Callable[[], CombineArguments],
        previous: object,
        async_finish: bool,
    ) -> Combined:
        """See ``Buffer.combine``. ``check`` returns the arguments or raises."""

        def run() -> Combined:
            combine = self._begin_combine(lambda: _after(previous, check))
            event = self._finish(combine.run, async_finish)
            return combine.out, combine.out_weights, event

        with cut_short(self._communicator.abort):
            return self._stream.run(run)

    def _begin_combine(self, check: Callable[[], CombineArguments]) -> _Combine:
        refusal = Refusal.ARGUMENTS
        try:
            arguments = check()
            refusal = Refusal.MEMORY
            return _Combine(self._communicator, self._engine, arguments, self._timeout_s)
        except REFUSED:
            self._refuse_combine(refusal)
            raise

    def _refuse_combine(self, why: Refusal) -> None:
        if self._is_over():
            return
        given = _native.CombineInput()
        given.refusal = why
        places = _native.CombinePlaces()
        ended = self._engine.combine(given, self._empty_handle(), places, self._timeout_s)
        settle(self._communicator, ended.outcome, "combine (refused here)", self._timeout_s)

    def _is_over(self) -> bool:
        """Whether this rank has aborted, as when the previous event has failed: all know then."""
        code, _, _ = self._communicator.native.fault()
        return code != FaultCode.NONE


def _after(previous: object, check: Callable[[], T]) -> T:
    """What ``check`` returns once the event has passed. What the event raises is refused like a
    wrong argument: the other ranks wait for this one either way.
    """
    event = expect_event(previous)
    if event is not None:
        event.current_stream_wait()
    return check()


@contextlib.contextmanager
def _window(communicator: Communicator, x: torch.Tensor) -> Iterator[None]:
    """Proxies may read ``x`` while the block runs; what breaks it off stops them before its end."""
    native = communicator.native
    try:
        with cut_short(communicator.abort):
            native.open_window(X_WINDOW, x.data_ptr(), x.numel() * x.element_size())
            yield
    finally:
        native.close_window(X_WINDOW)


class _Dispatch:
    """One dispatch under way."""

    def __init__(
        self,
        communicator: Communicator,
        engine: _native.Engine,
        arguments: DispatchArguments,
        timeout_s: float,
    ) -> None:
        self._communicator = communicator
        self._engine = engine
        self._arguments = arguments
        self._timeout_s = timeout_s
        self._input = arguments.native(X_WINDOW)
        self._places = _native.DispatchPlaces()
        self._output = _native.DispatchOutput()
        handle = arguments.handle
        self._handle = _native.NormalHandle() if handle is None else handle.native
        self._scratch: list[torch.Tensor] = []
        self._counts: list[int] | None = None
        self._x: torch.Tensor
        self._scales: torch.Tensor | None = None
        self._topk_idx: torch.Tensor | None = None
        self._topk_weights: torch.Tensor | None = None

    def announce(self) -> list[int]:
        if self._arguments.handle is not None:
            return []
        ended, expert_rows = self._engine.announce(self._input, self._handle, self._timeout_s)
        settle(self._communicator, ended.outcome, "dispatch", self._timeout_s)
        raise_disagreement(ended.mismatch, self._communicator.rank, "dispatch")
        return expert_rows

    def allocate(self, expert_rows: list[int]) -> None:
        received = self._handle.num_recv
        alignment = self._arguments.expert_alignment
        num_worst_tokens = self._arguments.num_worst_tokens
        if 0 < num_worst_tokens < received:
            raise ArgumentError(
                f"num_worst_tokens is {num_worst_tokens}, but {received} tokens come to this rank"
            )
        rows = num_worst_tokens or received
        args, places, output = self._arguments, self._places, self._output
        self._x, places.rows_at = self._tensor((rows, args.x.shape[1]), args.x.dtype)
        output.num_rows = rows
        if args.scales is not None:
            shape = (rows, args.scales.shape[1])
            self._scales, _ = self._tensor(shape, args.scales.dtype)
            output.scales = self._scales.data_ptr()
        if args.topk_idx is not None:
            shape = (rows, args.topk_idx.shape[1])
            self._topk_idx, _ = self._tensor(shape, torch.int64)
            self._topk_weights, _ = self._tensor(shape, torch.float32)
            output.topk_idx = self._topk_idx.data_ptr()
            output.topk_weights = self._topk_weights.data_ptr()
            aligned = [-(-count // alignment) * alignment for count in expert_rows]
            self._counts = [] if num_worst_tokens else aligned
        stride = self._engine.meta_stride(self._input)
        forwarded = self._handle.num_forwarded
        places.meta_at = self._scratch_bytes(received * stride)
        places.own_meta_at = self._scratch_bytes(self._input.num_tokens * stride)
        places.node_rows_at = self._scratch_bytes(forwarded * self._input.hidden_bytes)
        places.node_meta_at = self._scratch_bytes(forwarded * stride)

    def finish(self) -> None:
        """Move the rows and unpack what came with them."""
        with _window(self._communicator, self._arguments.x):
            ended = self._engine.transfer(self._input, self._handle, self._places, self._timeout_s)
            settle(self._communicator, ended.outcome, "dispatch", self._timeout_s)
            raise_disagreement(ended.mismatch, self._communicator.rank, "dispatch")
        self._engine.unpack(self._input, self._handle, self._places, self._output)
        self._scratch.clear()

    def refuse(self, why: Refusal) -> None:
        self._places.refusal = why
        ended = self._engine.transfer(self._input, self._handle, self._places, self._timeout_s)
        settle(self._communicator, ended.outcome, "dispatch (refused here)", self._timeout_s)

    def results(self, event: EventOverlap) -> Dispatched:
        args = self._arguments
        x: X = self._x if self._scales is None else (self._x, self._scales)
        if args.handle is not None:
            return x, None, None, None, None, event
        native = self._handle
        handle = DispatchHandle(
            native, self._engine, args.is_token_in_rank, args.num_experts, native.num_recv
        )
        return x, self._topk_idx, self._topk_weights, self._counts, handle, event

    def _tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, int]:
        return heap_tensor(self._communicator, shape, dtype)

    def _scratch_bytes(self, size: int) -> int:
        tensor, offset = self._tensor((size,), torch.uint8)
        self._scratch.append(tensor)
        return offset


class _Combine:
    """One combine under way; everything that can be refused is refused by the constructor."""

    def __init__(
        self,
        communicator: Communicator,
        engine: _native.Engine,
        arguments: CombineArguments,
        timeout_s: float,
    ) -> None:
        self._communicator = communicator
        self._engine = engine
        self._arguments = arguments
        self._timeout_s = timeout_s
        self._scratch: list[torch.Tensor] = []
        native = arguments.handle.native
        hidden = arguments.x.shape[1]
        self._input = given = _native.CombineInput()
        given.hidden = hidden
        given.row_type = ROW_TYPES[arguments.x.dtype]
        given.x_region = X_WINDOW
        shape = (native.num_tokens, hidden)
        self.out, _ = heap_tensor(communicator, shape, arguments.x.dtype)
        given.out = self.out.data_ptr()
        self.out_weights: torch.Tensor | None = None
        if arguments.topk_weights is not None:
            given.topk = arguments.topk_weights.shape[1]
            given.topk_weights = arguments.topk_weights.data_ptr()
            shape = (native.num_tokens, given.topk)
            self.out_weights, _ = heap_tensor(communicator, shape, torch.float32)
            given.out_weights = self.out_weights.data_ptr()
        for index, bias in enumerate(arguments.biases):
            given.set_bias(index, bias.data_ptr())
        self._places = self._allocate(given.row_bytes, given.meta_bytes)

    def _allocate(self, row_bytes: int, meta_bytes: int) -> _native.CombinePlaces:
        sizes = self._engine.combine_sizes(self._arguments.handle.native)
        places = _native.CombinePlaces()
        places.rows_at = self._scratch_bytes(sizes.rows * row_bytes)
        places.meta_at = self._scratch_bytes(sizes.rows * meta_bytes)
        places.node_rows_at = self._scratch_bytes(sizes.node_rows * row_bytes)
        places.node_meta_at = self._scratch_bytes(sizes.node_rows * meta_bytes)
        places.partial_rows_at = self._scratch_bytes(sizes.partial_rows * row_bytes)
        places.partial_meta_at = self._scratch_bytes(sizes.partial_rows * meta_bytes)
        places.own_meta_at = self._scratch_bytes(sizes.own_rows * meta_bytes)
        return places

    def run(self) -> None:
        """Move the rows and sum them."""
        with _window(self._communicator, self._arguments.x):
            ended = self._engine.combine(
                self._input, self._arguments.handle.native, self._places, self._timeout_s
            )
            settle(self._communicator, ended.outcome, "combine", self._timeout_s)
            raise_disagreement(ended.mismatch, self._communicator.rank, "combine")
        self._scratch.clear()

    def _scratch_bytes(self, size: int) -> int:
        tensor, offset = heap_tensor(self._communicator, (size,), torch.uint8)
        self._scratch.append(tensor)
        return offset
