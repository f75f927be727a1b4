"""The normal mode of a Buffer on a GPU, among ranks of one node; its interface is that of
``NormalMode``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from crossdock.ep import _native
from crossdock.ep._native import Call, Refusal
from crossdock.ep.gpu.arena import Arena
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.normal_launch import Agreed, NormalCall, Places, Ways, count_tokens
from crossdock.ep.gpu.route import Route
from crossdock.ep.gpu.rows import ALIGNMENT, aligned
from crossdock.ep.gpu.side import Side
from crossdock.ep.gpu.watch import Watch
from crossdock.ep.normal import Combined, Dispatched
from crossdock.ep.normal_arguments import (
    CombineArguments,
    DispatchArguments,
    DispatchHandle,
    X,
)
from crossdock.ep.outcomes import REFUSED, cut_short
from crossdock.ep.stream import EventOverlap, expect_event
from crossdock.proxy._native import FaultCode
from crossdock.proxy.errors import ArgumentError, CapacityError

T = TypeVar("T")
_NOWHERE = Places()


class GpuNormalMode:
    """Launches kernels on a stream of its own, behind the caller's.

    With ``num_worst_tokens`` nothing waits for the GPU, and calls may be captured in a graph. What
    goes wrong on the device is then raised by the next call.
    """

    def __init__(self, device: Device, engine: _native.Engine, watch: Watch) -> None:
        self._device = device
        self._engine = engine
        self._watch = watch
        self._arena = Arena(device)
        self._side = Side(device.platform)

    @property
    def writes_to_peers(self) -> bool:
        """Whether this rank and all others reach each other's inboxes."""
        return all(self._device.inboxes)

    # ---- layout -----------------------------------------------------------------------------

    def layout(
        self,
        topk_idx: torch.Tensor,
        num_experts: int,
        previous: EventOverlap | None,
        is_async: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, EventOverlap]:
        """Tokens of each rank, of each expert, which token goes to which rank, and the event."""
        self._watch.raise_if_failed()
        if previous is not None:
            previous.current_stream_wait()
        with self._side.behind(topk_idx), self._device.launching():
            counts = count_tokens(self._device, topk_idx, num_experts)
            event = self._event(is_async)
        self._finish(is_async, *counts)
        return *counts, event

    # ---- dispatch ---------------------------------------------------------------------------

    def dispatch(
        self,
        check: Callable[[], DispatchArguments],
        cached: bool,
        previous: object,
        async_finish: bool,
    ) -> Dispatched:
        """See ``Buffer.dispatch``. ``check`` returns the arguments or raises."""
        with cut_short(self._device.communicator.abort):
            arguments = self._checked(
                previous,
                lambda: self._expect_no_waiting(check()),
                Call.CACHED_DISPATCH if cached else Call.DISPATCH,
            )
            return self._dispatch(arguments, async_finish)

    def _dispatch(self, args: DispatchArguments, async_finish: bool) -> Dispatched:
        agreed = _agreed(args)
        x = aligned(args.x)
        given = (args.scales, args.topk_idx, args.topk_weights, args.is_token_in_rank)
        counts = (args.tokens_per_rank, args.tokens_per_expert)
        with self._side.behind(x, *given, *counts), self._device.launching():
            call, route, arrived = self._announced(args, agreed)
            try:
                self._watch.raise_if_failed()
                results = _Results(self._new, args, route.rows)
                places = self._places(agreed, x.shape[0], route.rows)
            except REFUSED as error:
                why = Refusal.MEMORY if isinstance(error, CapacityError) else Refusal.ARGUMENTS
                call.exchange_grants(_NOWHERE, 0, why.value)
                raise
            call.exchange_grants(places, route.rows)
            call.send_rows(x, args.topk, args.scales, places)
            call.unpack_rows(results.x, results.topk, results.scales, places)
            event = self._event(async_finish)
        self._finish(async_finish, *results.tensors)
        if args.handle is not None:
            return results.received, None, None, None, None, event
        handle = DispatchHandle(
            route, self._engine, args.is_token_in_rank, args.num_experts, route.rows
        )
        return results.received, *results.both, arrived, handle, event

    def _announced(
        self, args: DispatchArguments, agreed: Agreed
    ) -> tuple[NormalCall, Route, list[int]]:
        """The call, what is known of its rows, and those of each local expert, when they are known.

        Waits for the headers unless the caller has said how many rows there can be.
        """
        worst = args.num_worst_tokens
        if args.handle is not None:
            route = args.handle.route
            assert isinstance(route, Route)
            call = NormalCall(self._device, agreed, route.ways)
            call.begin()
            return call, route.with_rows(worst or route.num_recv), []
        assert args.tokens_per_rank is not None
        assert args.tokens_per_expert is not None
        ways = self._new_ways(args.x.shape[0], args.num_experts)
        call = NormalCall(self._device, agreed, ways)
        call.begin()
        call.plan(args.is_token_in_rank, args.tokens_per_rank)
        call.exchange_headers(args.tokens_per_expert)
        ranks = self._device.communicator.size
        if worst:
            returned = args.x.shape[0] * (ranks - 1)
            return call, Route(ways, worst, returned, self._device.platform.synchronize), []
        told = torch.cat([ways.first_row, ways.expert_rows, ways.sent.long()]).tolist()
        first, sent = told[: ranks + 1], told[-ranks:]
        returned = sum(sent) - sent[self._device.communicator.rank]
        route = Route(ways, first[-1], returned, self._device.platform.synchronize, first)
        step = args.expert_alignment
        return call, route, [-(-count // step) * step for count in told[ranks + 1 : -ranks]]

    # ---- combine ----------------------------------------------------------------------------

    def combine(
        self, check: Callable[[], CombineArguments], previous: object, async_finish: bool
    ) -> Combined:
        """See ``Buffer.combine``. ``check`` returns the arguments or raises."""
        with cut_short(self._device.communicator.abort):
            arguments = self._checked(previous, check, Call.COMBINE)
            return self._combine(arguments, async_finish)

    def _combine(self, arguments: CombineArguments, async_finish: bool) -> Combined:
        route = arguments.handle.route
        assert isinstance(route, Route)
        x, weights = aligned(arguments.x), arguments.topk_weights
        topk = 0 if weights is None else weights.shape[1]
        row_bytes = x.shape[1] * x.element_size()
        agreed = Agreed(Call.COMBINE, row_bytes, 0, topk, 0, x.element_size())
        with self._side.behind(x, weights, *arguments.biases), self._device.launching():
            out = self._new(x.dtype, route.num_tokens, x.shape[1])
            out_weights = None if weights is None else self._new(torch.float32, len(out), topk)
            call = NormalCall(self._device, agreed, route.ways)
            call.begin()
            try:
                places = self._places(agreed, route.rows, route.returned)
            except CapacityError:
                call.exchange_grants(_NOWHERE, 0, Refusal.MEMORY.value)
                raise
            call.exchange_grants(places, 0)
            call.return_rows(x, route.rows, weights, places)
            call.sum_rows(x, weights, arguments.biases, out, out_weights, places)
            event = self._event(async_finish)
        self._finish(async_finish, out, out_weights)
        return out, out_weights, event

    # ---- what both need ---------------------------------------------------------------------

    def _new(self, dtype: torch.dtype, *size: int) -> torch.Tensor:
        """Memory of the device."""
        return torch.empty(size, dtype=dtype, device=self._device.platform.device)

    def _new_ways(self, num_tokens: int, num_experts: int) -> Ways:
        """Memory for a handle."""
        ranks = self._device.communicator.size
        return Ways(
            number=self._new(torch.int64, 1),
            first_row=self._new(torch.int64, ranks + 1),
            expert_rows=self._new(torch.int64, num_experts // ranks),
            sent=self._new(torch.int32, ranks),
            place_of=self._new(torch.int32, num_tokens, ranks),
        )

    def _places(self, agreed: Agreed, sent: int, came: int) -> Places:
        """Where so many rows go: into the inbox, if it has room for them, from those who reach it.

        Raises:
            CapacityError: there is no room for the others.
        """
        row, meta = agreed.hidden_bytes, agreed.meta_bytes
        inbox = self._device.inbox
        inbox_meta = -(-came * row // ALIGNMENT) * ALIGNMENT
        uses_inbox = inbox is not None and inbox_meta + came * meta <= inbox.size
        far = 0 if uses_inbox and all(self._device.inboxes) else came
        out_rows, out_meta, rows_at, meta_at = self._arena.parts(
            [sent * row, sent * meta, far * row, far * meta]
        )
        return Places(out_rows, out_meta, rows_at, meta_at, inbox_meta, uses_inbox)

    def _checked(self, previous: object, check: Callable[[], T], call: Call) -> T:
        """What ``check`` returns; what it raises the other ranks learn, who wait for this one."""
        try:
            event = expect_event(previous)
            if event is not None:
                event.current_stream_wait()
            self._watch.raise_if_failed()
            return check()
        except REFUSED:
            self._refuse(call)
            raise

    def _refuse(self, call: Call) -> None:
        code, _, _ = self._device.communicator.native.fault()
        if code != FaultCode.NONE:
            return
        ranks = self._device.communicator.size
        nothing = Agreed(call, 0, 0, 0, ranks, 0)
        with self._side.behind(), self._device.launching():
            ways = self._new_ways(0, ranks)
            for table in (ways.number, ways.first_row, ways.sent):
                table.zero_()
            refused = NormalCall(self._device, nothing, ways, Refusal.ARGUMENTS.value)
            refused.begin()
            if nothing.makes_handle:
                refused.exchange_headers(ways.sent)
            else:
                refused.exchange_grants(_NOWHERE, 0)
        self._side.join()

    def _expect_no_waiting(self, args: DispatchArguments) -> DispatchArguments:
        """The arguments, unless the host would have to wait for what is captured in a graph."""
        handle = args.handle
        known = handle is not None and isinstance(handle.route, Route) and handle.route.is_known
        if not args.num_worst_tokens and not known and self._device.platform.is_capturing():
            raise ArgumentError(
                "a graph is being captured, but a dispatch without num_worst_tokens waits for the "
                "number of its rows; pass num_worst_tokens"
            )
        return args

    def _event(self, is_async: bool) -> EventOverlap:
        if not is_async:
            return EventOverlap()
        return EventOverlap(self._device.platform.event(self._watch.raise_if_failed))

    def _finish(self, is_async: bool, *made: torch.Tensor | None) -> None:
        """Hand over what was made. In the interpreter it is known whether something failed."""
        self._side.keep(*made)
        if not is_async:
            self._side.join()
        if self._device.platform.backend == "interpreter":
            self._watch.raise_if_failed()


class _Results:
    """The tensors that a dispatch fills."""

    def __init__(
        self, new: Callable[..., torch.Tensor], args: DispatchArguments, rows: int
    ) -> None:
        self.x = new(args.x.dtype, rows, args.x.shape[1])
        self.scales: torch.Tensor | None = None
        self.topk: tuple[torch.Tensor, torch.Tensor] | None = None
        if args.scales is not None:
            self.scales = new(args.scales.dtype, rows, args.scales.shape[1])
        if args.topk_idx is not None:
            topk = args.topk_idx.shape[1]
            self.topk = (new(torch.int64, rows, topk), new(torch.float32, rows, topk))

    @property
    def both(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Indices and weights."""
        return (None, None) if self.topk is None else self.topk

    @property
    def received(self) -> X:
        """Rows, and their scales if there are any."""
        return self.x if self.scales is None else (self.x, self.scales)

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        """All of them."""
        return (self.x, self.scales, *self.both)


def _agreed(args: DispatchArguments) -> Agreed:
    """What must be the same on all ranks."""
    return Agreed(
        Call.DISPATCH if args.handle is None else Call.CACHED_DISPATCH,
        args.x.shape[1] * args.x.element_size(),
        0 if args.scales is None else 4 * args.scales.shape[1],
        0 if args.topk_idx is None else args.topk_idx.shape[1],
        args.num_experts,
        args.x.element_size(),
    )
