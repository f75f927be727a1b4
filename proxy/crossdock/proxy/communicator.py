"""A rank's communicator: memory, rings, counters and proxies, and the peers behind them."""

from __future__ import annotations

import logging
import math
import os
import pathlib
import weakref
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from crossdock.proxy import _native, diagnosis, recording, schema
from crossdock.proxy._native import WaitStatus
from crossdock.proxy.builder import Builder, Built, DeviceMemory, Request
from crossdock.proxy.errors import ArgumentError, CapacityError, DestroyedError, ForkedError
from crossdock.proxy.exchange import Exchange
from crossdock.proxy.options import Options

BARRIER_COUNTER = 0
"""The counter that barriers use; products use those from FIRST_COUNTER on."""
FIRST_COUNTER = 1
_FAREWELL_S = 2.0
_log = logging.getLogger(__name__)


class Communicator:
    """Connects this rank with its peers; building one is collective.

    Args:
        exchange: how the ranks meet.
        options: choices of the user; None takes them from the environment.
        main_bytes: size of the main region of this rank.
        num_counters: counters for each peer, the barrier's among them; the same on every rank.
        max_value: largest value of one ADD or SEAL; the same on every rank.
        device_memory: makes memory of the device which NICs shall read and write themselves; it is
            kept until NICs no longer know of it.

    Raises:
        ArgumentError, CapacityError: a value is not allowed, with its limit.
        MismatchError: ranks disagree, on every rank.
        PeerArgumentError: another rank refused.
        TransportError: ranks cannot reach each other.
        DeadlineExceeded: ranks are missing, with their numbers.
    """

    def __init__(
        self,
        exchange: Exchange,
        options: Options | None = None,
        *,
        main_bytes: int = 0,
        num_counters: int = FIRST_COUNTER,
        max_value: int = schema.MAX_VALUE,
        device_memory: Callable[[], DeviceMemory] | None = None,
    ) -> None:
        self.options = Options.from_environment() if options is None else options
        self._exchange = exchange
        self._epoch = 0
        self.rank = exchange.rank
        self.size = exchange.size
        request = Request(main_bytes, num_counters, max_value, device_memory)
        built = Builder(exchange, self.options, request).build()
        self.layout = built.layout
        self.num_counters = num_counters
        self.num_proxies = built.num_proxies
        self.threaded = built.threaded
        self.node_of = built.node_of
        self._routes = built.routes
        self.recording = self._record(built)
        self._native: _native.Communicator | None = built.native
        self._others = [peer for peer in range(self.size) if peer != self.rank]
        self._unsignalled: list[int] | None = None
        self.device_memory = built.device_memory
        self._process = os.getpid()
        self._finalizer = weakref.finalize(
            self, _leave, built.native, self.recording, built.device_memory, self._process
        )

    @property
    def native(self) -> _native.Communicator:
        """The native half; DestroyedError after ``destroy``, ForkedError in a forked child."""
        self.expect_own_process()
        if self._native is None:
            raise DestroyedError(
                f"rank {self.rank}: the communicator is destroyed; build a new one"
            )
        return self._native

    @property
    def destroyed(self) -> bool:
        """Whether ``destroy`` was called."""
        return self._native is None

    def expect_own_process(self) -> None:
        """Raise ForkedError in a child that was forked from the rank: rings and counters are memory
        that it shares with its parent, whose job its calls would carry on.
        """
        if os.getpid() != self._process:
            raise ForkedError(
                f"rank {self.rank} is process {self._process}, this one was forked from it and is "
                "no rank; make the call there, or build a new communicator here"
            )

    def transport_of(self, peer: int) -> str:
        """Name of the transport to a rank: shm or tcp."""
        if not 0 <= peer < self.size:
            raise ArgumentError(f"peer is {peer}, but must be between 0 and {self.size - 1}")
        return self._routes[peer]

    # ---- memory -----------------------------------------------------------------------------

    def allocate(self, size: int) -> _native.Block:
        """A block of the heap region; it is free again when nothing refers to it.

        Raises:
            CapacityError: there is no free stretch of ``size`` bytes.
        """
        native = self.native
        if size < 0:
            raise ArgumentError(f"a block of {size} bytes")
        block = native.allocate(size)
        if block is None:
            total, used = native.heap_total(), native.heap_used()
            raise CapacityError(
                f"rank {self.rank}: no free stretch of {size} bytes in the heap: {total - used} of "
                f"{total} bytes are free; release results, or raise CROSSDOCK_HEAP_BYTES"
            )
        return block

    def region_array(self, region: int) -> npt.NDArray[np.uint8]:
        """The bytes of an exposed region; the array keeps the memory alive."""
        array: npt.NDArray[np.uint8] = self.native.region_array(region)
        return array

    # ---- waiting: Ctrl-C is heard within a moment -------------------------------------------

    def push(self, commands: Sequence[schema.Command], ring: int = 0) -> None:
        """Push commands into a ring, waiting for room. For tools and tests: devices push natively.

        Raises:
            CapacityError: a value does not fit its field.
            DeadlineExceeded, PeerLost, Aborted and what else ``diagnosis.raise_for`` raises.
        """
        packed = [command.pack() for command in commands]
        result = self.native.push_all(ring, packed, self.options.timeout_s)
        diagnosis.raise_for(self, result.status, result.missing, "room in a ring")

    def wait(
        self,
        peers: Sequence[int],
        counter: int,
        amount: int,
        what: str,
        timeout_s: float | None = None,
    ) -> None:
        """Wait until ``counter`` of each of ``peers`` has ``amount`` arrivals."""
        self._wait(peers, counter, amount, what, self._limit(timeout_s))

    def _wait(
        self,
        peers: Sequence[int],
        counter: int,
        amount: int,
        what: str,
        limit: float,
        *,
        together: bool = False,
    ) -> None:
        result = self.native.await_arrivals(peers, counter, amount, limit, together, what)
        diagnosis.raise_for(
            self,
            result.status,
            result.missing,
            what,
            timeout_s=limit,
            counter=counter,
            expected=amount,
        )

    def fence(self, timeout_s: float | None = None) -> None:
        """Wait until every command pushed so far is acknowledged."""
        self._fence("fence", self._limit(timeout_s))

    def _fence(self, what: str, limit: float) -> None:
        result = self.native.await_fence(limit)
        diagnosis.raise_for(self, result.status, result.missing, what, timeout_s=limit)

    def barrier(self, timeout_s: float | None = None) -> None:
        """Wait until every rank has entered; one thread of a rank at a time.

        It says nothing of earlier writes: call ``fence`` first where they must have arrived. After
        DeadlineExceeded, or Ctrl-C, the same barrier goes on with the next call.
        """
        native = self.native
        limit = self._limit(timeout_s)
        diagnosis.raise_if_faulty(self, "barrier")
        if self._unsignalled is None:
            self._unsignalled = list(self._others)
        while self._unsignalled:
            # One by one: a wait that Ctrl-C ends does not say how far it got.
            peer = self._unsignalled[-1]
            signal = schema.Command(schema.Op.SIGNAL, peer, counter=BARRIER_COUNTER, value=1)
            result = native.push_all(0, [signal.pack()], limit)
            diagnosis.raise_for(self, result.status, self._unsignalled, "barrier", timeout_s=limit)
            self._unsignalled.pop()
        # Whoever entered and died since keeps others from entering: they have heard of it.
        self._wait(self._others, BARRIER_COUNTER, 1, "barrier", limit, together=True)
        if not self.threaded:
            # Who enters last need not wait, and then nobody would carry its signals away.
            self._fence("barrier", limit)
        native.consume(self._others, BARRIER_COUNTER, 1)
        self._unsignalled = None

    def begin_epoch(self, timeout_s: float | None = None) -> None:
        """Start anew: collective. All counters are zero afterwards, and no ring holds a command.

        The fence and the barrier see to it that no payload of the old epoch is under way when its
        memory is used again; the epoch in each immediate, that none is counted in the new one.
        """
        limit = self._limit(timeout_s)
        self.fence(limit)
        self.barrier(limit)
        self.fence(limit)  # the barrier's own signals
        self._epoch += 1
        self.native.begin_epoch(self._epoch)
        self._unsignalled = None
        # Whoever has not begun yet would take what is sent now for something late.
        self._exchange.all_gather(b"", limit)

    def _limit(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return self.options.timeout_s
        if math.isnan(timeout_s) or timeout_s < 0:
            raise ArgumentError(f"timeout_s is {timeout_s}, but must not be negative")
        return timeout_s

    # ---- what is going on -------------------------------------------------------------------

    def dump(self, path: str | os.PathLike[str] | None = None) -> pathlib.Path:
        """Write what this rank is doing to a file, for ``crossdock explain``; its path.

        Args:
            path: None for a new file where dumps go, see ``Options.dump_dir``.

        Raises:
            DumpError: the file cannot be written.
        """
        _ = self.native
        return self.recording.save(None if path is None else pathlib.Path(path))

    def _record(self, built: Built) -> recording.Recording:
        facts = recording.facts_of(self.rank, self.size, self.options, built.job)
        return recording.Recording(
            built.native,
            msgspec.structs.replace(
                facts,
                threads=built.threaded,
                nodes=built.node_of,
                routes=built.routes,
                counter_bits=built.layout.counter_bits,
                sequence_bits=built.layout.sequence_bits,
            ),
            self.options,
        )

    # ---- the end ----------------------------------------------------------------------------

    def abort(self, blame: int | None = None) -> None:
        """Give up, now: waiters on this rank get Aborted, those on other ranks PeerLost.

        Idempotent, from any thread; nothing after ``destroy``.

        Args:
            blame: the rank because of which; other ranks will name it. None: this rank.
        """
        native = self._native
        if native is not None:
            native.shut_down(self.rank if blame is None else blame)

    def destroy(self, timeout_s: float | None = None) -> None:
        """Leave the job; what was pushed is sent first, within the deadline. Idempotent.

        Memory is given back when the last array over it is gone.
        """
        native = self._native
        if native is None:
            return
        own = os.getpid() == self._process  # else the parent goes on, and sends what was pushed
        lost = diagnosis.lost_peers(self) if own else []
        code, _, _ = native.fault()
        if own and code == _native.FaultCode.NONE and not lost:
            result = native.await_fence(self._limit(timeout_s))
            if result.status == WaitStatus.DEADLINE:
                _log.warning(
                    "rank %d: destroyed with commands to rank(s) %s not acknowledged",
                    self.rank,
                    result.missing,
                )
        # Whoever still waits for this rank should learn who is to blame that it has gone.
        native.shut_down(diagnosis.culprit_of(self, lost) if lost else -1)
        self.recording.close()
        self._finalizer.detach()
        self._native = self.device_memory = None


def _leave(
    native: _native.Communicator,
    recorded: recording.Recording,
    memory: DeviceMemory | None,
    process: int,
) -> None:
    """The end of a communicator that was forgotten, or that the interpreter's end overtook."""
    try:
        if os.getpid() == process:
            native.await_fence(_FAREWELL_S)
    finally:
        native.shut_down(-1)
        recorded.close()
        del memory  # which NICs have known of until now
