"""Watches over the waits of a GPU: what makes one pointless, when its time is over, and which ranks
it can go on without. Kernels wait without an end of their own; this thread is their deadline.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref

import triton.language as tl

from crossdock.ep import _native
from crossdock.ep._native import Refusal
from crossdock.ep.gpu.device import Device
from crossdock.ep.kernels import view as table
from crossdock.ep.kernels.normal_begin import ACKNOWLEDGED
from crossdock.ep.outcomes import raise_disagreement
from crossdock.proxy import diagnosis
from crossdock.proxy._native import FaultCode, PeerState, WaitStatus
from crossdock.proxy.errors import (
    ArgumentError,
    CrossdockError,
    CutOff,
    DeadlineExceeded,
    DestroyedError,
    MismatchError,
    PeerLost,
)

_TICK_S = 0.002
_CALL = "a call on a GPU"
_TELL_S = 0.25
"""For a kernel to say who is missing; it looks at each turn of its wait."""
_NAMES = {
    _native.HEADER_COUNTER: "normal mode: headers",
    _native.GRANT_COUNTER: "normal mode: grants",
    _native.ROW_COUNTER: "normal mode: rows",
    ACKNOWLEDGED.value: "normal mode: completions of all writes",
    _native.TOKEN_COUNTER: "low-latency dispatch: tokens",
    _native.RESULT_COUNTER: "low-latency combine: rows of experts",
    _native.CREDIT_COUNTER: "low-latency dispatch: credits",
}


_NO_MASKS = {
    index + half for index in (_native.HEADER_COUNTER, _native.GRANT_COUNTER) for half in range(2)
} | {_native.ROW_COUNTER, ACKNOWLEDGED.value}
"""What a wait is for that leaves no rank out."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A rank with which a call of the normal mode could not go on; as ``_native.Disagreement``."""

    peer: int
    refusal: Refusal
    field: str
    theirs: int
    mine: int


class Watch:
    """The thread, and the error that it found.

    Args:
        masking: ranks that do not answer are masked, instead of failing the wait.
    """

    def __init__(self, device: Device, engine: _native.Engine, masking: bool) -> None:
        self._device = device
        self._communicator = device.communicator
        self._native = device.communicator.native
        self._engine = engine
        self._masking = masking
        self._cells = device.control.numpy()
        self._timeout_s = device.communicator.options.timeout_s
        self._error: CrossdockError | None = None
        self._last: CrossdockError | None = None
        self._end = threading.Event()
        self._seen = 0
        self._since = 0.0
        # The thread keeps nothing alive: a Buffer that is forgotten leaves by itself.
        self._thread = threading.Thread(
            target=_run,
            args=(weakref.ref(self), self._end),
            name="crossdock-gpu-watch",
            daemon=True,
        )
        self._thread.start()

    def raise_if_failed(self) -> None:
        """Raise what a kernel has met since the last call. Its results are not defined."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        if self._last is not None:
            raise self._last
        if not self._end.is_set():
            diagnosis.raise_if_faulty(self._communicator, _CALL)
        self._raise_reports()

    def mask(self, rank: int) -> None:
        """Leave a rank out, for good."""
        self._cells[table.EXCUSED.value + rank] = 1
        self._engine.mask(rank)

    def close(self, rested: bool) -> None:
        """End the thread, and every wait of a kernel.

        Args:
            rested: all calls have ended by themselves. What they have brought stays valid, and so
                do their events.
        """
        self._cells[table.STOP.value] = table.GIVE_UP.value
        try:
            diagnosis.raise_if_faulty(self._communicator, _CALL)
        except CrossdockError as error:
            self._last = error
        if not rested and self._last is None:
            rank = self._communicator.rank
            self._last = DestroyedError(f"rank {rank}: the Buffer was destroyed during {_CALL}")
        self._end.set()
        self._thread.join()

    # ---- what kernels report ----------------------------------------------------------------

    def _raise_reports(self) -> None:
        self._raise_of_normal()
        wrong = int(self._cells[table.BAD_INDEX.value])
        if wrong:
            self._cells[table.BAD_INDEX.value] = 0
            raise ArgumentError(
                f"entry {wrong - 1} of topk_idx of an earlier call was neither -1 nor an expert; "
                "it was taken for -1"
            )
        other = int(self._cells[table.MISMATCH.value])
        if other:
            self._cells[table.MISMATCH.value] = 0
            first = table.THEIR_SHAPE.value
            tokens, hidden, experts, topk, form = self._cells[first : first + 5].tolist()
            raise MismatchError(
                f"rank {self._communicator.rank}: low-latency dispatch: rank {other - 1} called "
                f"with num_max_dispatch_tokens_per_rank={tokens}, hidden={hidden}, "
                f"num_experts={experts}, top-k={topk}, format={form}, and this rank with others; "
                "they must be the same on every rank"
            )

    def _raise_of_normal(self) -> None:
        counted, rows = self._taken(table.BAD_COUNT), self._taken(table.TOO_MANY)
        failed = self._taken(table.BAD_HANDLE)
        found = self._disagreement()
        if counted:
            raise ArgumentError(
                f"num_tokens_per_rank of an earlier call is wrong for rank {counted - 1}: "
                "is_token_in_rank counts others; pass what get_dispatch_layout gives"
            )
        if rows:
            raise ArgumentError(f"num_worst_tokens is too small: {rows} tokens come to this rank")
        if failed:
            raise ArgumentError("handle is of a dispatch that failed")
        raise_disagreement(found, self._communicator.rank, "a call of the normal mode")

    def _disagreement(self) -> Found | None:
        first = table.DISAGREEMENT.value
        refusal, field, theirs, mine = self._cells[first + 1 : first + 5].tolist()
        peer = self._taken(table.DISAGREEMENT) - 1
        if peer < 0:
            return None
        names = _native.AGREEMENT_FIELDS
        name = names[field] if field < len(names) else ""
        return Found(peer, Refusal(refusal), name, theirs, mine)

    def _taken(self, cell: tl.constexpr) -> int:
        """What stands there; then it is 0 again."""
        value = int(self._cells[cell.value])
        self._cells[cell.value] = 0
        return value

    # ---- the thread -------------------------------------------------------------------------

    def turn(self) -> None:
        """What the thread does again and again."""
        try:
            self._look()
        except CrossdockError as error:
            self._fail(error)

    def _look(self) -> None:
        waiting = int(self._cells[table.WAITING.value])
        waits = int(self._cells[table.WAITS.value])
        if waiting == 0 or waits != self._seen:
            self._seen, self._since = waits, time.monotonic()
        if self._cells[table.STOP.value] == table.GIVE_UP.value:
            return
        code, _, _ = self._native.fault()
        if code != FaultCode.NONE:
            self._cells[table.STOP.value] = table.GIVE_UP.value
        if waiting == 0:
            return
        diagnosis.raise_if_faulty(self._communicator, self._name(waiting))
        gone = [p for p in range(self._communicator.size) if self._is_gone(p)]
        if gone or time.monotonic() - self._since > self._timeout_s:
            self._judge(waiting, gone)

    def _is_gone(self, peer: int) -> bool:
        state, _, _ = self._native.peer_state(peer)
        return state in (PeerState.LEFT, PeerState.LOST)

    def _judge(self, waiting: int, gone: list[int]) -> None:
        """A peer is gone, or the time is over: whom does the kernel wait for?"""
        missing = self._missing()
        vain = [peer for peer in gone if peer in missing]
        late = time.monotonic() - self._since > self._timeout_s
        if not vain and not (late and missing):
            return
        if self._masking and waiting - 1 not in _NO_MASKS:
            for peer in vain or missing:
                self.mask(peer)
            self._since = time.monotonic()
            return
        diagnosis.raise_for(
            self._communicator,
            WaitStatus.PEER_GONE if vain else WaitStatus.DEADLINE,
            vain or missing,
            self._name(waiting),
            timeout_s=self._timeout_s,
            counter=None if waiting - 1 == ACKNOWLEDGED.value else waiting - 1,
        )

    def _missing(self) -> list[int]:
        """What the kernel says; nobody when its wait ended meanwhile."""
        self._cells[table.TOLD.value] = 0
        self._cells[table.STOP.value] = table.TELL.value
        end = time.monotonic() + _TELL_S
        while self._cells[table.TOLD.value] == 0 and self._cells[table.WAITING.value] != 0:
            if time.monotonic() > end:
                break
            time.sleep(_TICK_S / 4)
        self._cells[table.STOP.value] = 0
        if self._cells[table.WAITING.value] == 0:
            return []
        first = table.EXCUSED.value + self._communicator.size
        flags = self._cells[first : first + self._communicator.size]
        return [peer for peer, flag in enumerate(flags.tolist()) if flag]

    def _name(self, waiting: int) -> str:
        index = waiting - 1
        return _NAMES.get(index) or _NAMES.get(index - 1, "a counter")

    def _fail(self, error: CrossdockError) -> None:
        self._error = error
        blame = None
        if isinstance(error, PeerLost) and not isinstance(error, CutOff):
            blame = error.rank
        if isinstance(error, DeadlineExceeded) and error.missing:
            blame = error.missing[0]
        self._cells[table.STOP.value] = table.GIVE_UP.value
        self._communicator.abort(blame)


def _run(known: weakref.ref[Watch], end: threading.Event) -> None:
    while not end.wait(_TICK_S):
        watch = known()
        if watch is None:
            return
        watch.turn()
        del watch
