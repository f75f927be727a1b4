"""A GPU that shares rings, counters and regions with the proxies of its rank."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch

from crossdock.ep.gpu import peers
from crossdock.ep.gpu.held import Held, whole_pages
from crossdock.ep.gpu.platform import Platform
from crossdock.ep.gpu.region import Region, free_what_was_kept
from crossdock.ep.gpu.writers import wait_for
from crossdock.ep.kernels import view as table
from crossdock.proxy import Communicator, Exchange
from crossdock.proxy._native import Communicator as Native
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import CapacityError, DestroyedError

_MAIN_REGION, _HEAP_REGION = 0, 1
_FAREWELL_S = 2.0
"""For neighbours to destroy their Buffers, too, before memory is kept because of them."""
_log = logging.getLogger(__name__)
_Cell = np.ndarray[tuple[int], np.dtype[np.int64]]


class Device:
    """Tables and memory that kernels and proxies share. Building one is collective.

    Args:
        exchange: how the ranks meet.
        region_at, region_bytes: the low-latency part of the main region.
        control_bytes: of the main region from its begin on, for messages of the normal mode.
        inbox_bytes: for rows of the normal mode that ranks of the node write here by themselves.
            None, on all ranks, where nobody has an inbox; else those without a GPU must ``meet``.
    """

    def __init__(
        self,
        platform: Platform,
        communicator: Communicator,
        exchange: Exchange,
        region_at: int,
        region_bytes: int,
        control_bytes: int = 0,
        inbox_bytes: int | None = None,
    ) -> None:
        self.platform = platform
        self.communicator = communicator
        self.region_at = region_at
        self.region_bytes = region_bytes
        self.num_rings = communicator.num_proxies
        self.ring_slots = communicator.options.ring_slots
        self._expect_capacity()
        self._held = Held(platform, communicator.rank)
        self._turn = threading.RLock()
        self._leaving = False
        self._finalizer = weakref.finalize(self, self._held.release)
        self._finalizer.atexit = False  # the end of the process gives all back
        self._memory: Region | None = None
        self.region = 0
        self.peers = [0] * communicator.size
        self.through_nics = False
        self.inbox: Region | None = None
        self.inboxes = [0] * communicator.size
        try:
            # Without a region ranks need not ask each other, and some may have no GPU.
            if region_bytes:
                self._reach(exchange)
            if inbox_bytes is not None:
                self._share_inbox(exchange, inbox_bytes)
            self._map(communicator.native, control_bytes)
        except BaseException as error:
            self._finalizer()
            self._memory = self.inbox = None
            # Whoever catches it shall have the memory back before it is forgotten.
            traceback.clear_frames(error.__traceback__)
            raise

    def _expect_capacity(self) -> None:
        if self.num_rings > table.MAX_RINGS:
            raise CapacityError(
                f"{self.num_rings} proxies, but a GPU serves at most {table.MAX_RINGS} rings"
            )
        if self.communicator.size > self.ring_slots:
            raise CapacityError(
                f"ring_slots is {self.ring_slots}, but a GPU needs one for each of "
                f"{self.communicator.size} ranks"
            )

    @property
    def carried_at(self) -> int:
        """Where what proxies carry begins in the region that their commands name."""
        return 0 if self.through_nics else self.region_at

    def _reach(self, exchange: Exchange) -> None:
        """Make `region`, and find `peers`, the address here of each rank's region, 0 where one of
        the two cannot write to the other; and `through_nics`, whether NICs reach all those regions
        on all ranks."""
        rank, size, native = exchange.rank, exchange.size, self.communicator.native
        made = cast("Region | None", self.communicator.device_memory)
        self._memory = made or Region(self.platform, self.region_bytes)
        self.region = self._memory.address
        met = self._meet(exchange, self._memory)
        self.peers = met.addresses
        if not met.far:
            return

        def by_nic() -> list[bool]:
            known = native.device_memory_bytes > 0
            return [known and native.peer_device_memory_bytes(p) > 0 for p in range(size)]

        timeout_s = self.communicator.options.timeout_s
        reached = agree(exchange, timeout_s, list[bool], by_nic, peers.STEP)
        self.through_nics = all(reached[a][b] for a, b in met.far)
        if self.through_nics:
            self.peers[rank] = self.region  # no NIC goes from a rank to itself
            return
        why = native.device_memory_refusal or "not all ranks reach each other by NICs"
        _log.info("rank %d: rows go through memory of the host: %s", rank, why)

    def _share_inbox(self, exchange: Exchange, size: int) -> None:
        """Make `inbox`, and find `inboxes`, those of all ranks as `peers`."""
        try:
            self.inbox = Region(self.platform, size) if size else None
        except CapacityError as error:
            _log.info("rank %d: rows of the normal mode are staged: %s", exchange.rank, error)
        self.inboxes = self._meet(exchange, self.inbox).addresses

    def _meet(self, exchange: Exchange, memory: Region | None) -> peers.Peers:
        met = peers.meet(self.communicator, exchange, self.platform, memory)
        if met.visit is not None:
            self._held.visits.append(met.visit)
        return met

    def _map(self, native: Native, control_bytes: int) -> None:
        """Pin what kernels use of the host, and make their tables."""
        self._rings = [address for address, _ in native.ring_stretches()]
        self.control = self._held.control(table.EXCUSED.value + 2 * self.communicator.size)
        main, _ = native.region_stretch(_MAIN_REGION)
        staged = self.region != 0 and not all(self.peers) and not self.through_nics
        stretches = [
            native.counter_stretch(),
            *native.ring_stretches(),
            (main, control_bytes),
            (main + self.region_at, self.region_bytes if staged else 0),
        ]
        for address, size in whole_pages(stretches):
            self._held.pin(address, size)
        self.view = self._view_of(native)
        self.state = torch.zeros(table.STATE_WORDS, dtype=torch.int64, device=self.platform.device)
        self._held.used += [native, self._memory, self.inbox, self.view, self.state]

    def _view_of(self, native: Native) -> torch.Tensor:
        known = [*self.peers, *self.inboxes]
        view = torch.zeros(table.PEERS.value + len(known), dtype=torch.int64, device="cpu")
        view[table.COUNTERS.value] = native.counter_stretch()[0]
        view[table.CONTROL.value] = self.control.data_ptr()
        main_address, _ = native.region_stretch(_MAIN_REGION)
        carried = self.region if self.through_nics else main_address + self.region_at
        view[table.STAGED.value] = carried
        view[table.REGION.value] = Native.DEVICE_REGION if self.through_nics else _MAIN_REGION
        view[table.DIRECT.value] = self.region
        view[table.MAIN.value] = main_address
        view[table.HEAP.value] = self.heap_address
        for ring, address in enumerate(self._rings):
            view[table.RINGS.value + ring] = address
        view[table.PEERS.value :] = torch.tensor(known, dtype=torch.int64, device="cpu")
        return view.to(self.platform.device)

    @property
    def heap_address(self) -> int:
        """Where the heap region of this rank begins."""
        address, _ = self.communicator.native.region_stretch(_HEAP_REGION)
        return address

    def pin(self, address: int, size: int) -> None:
        """Let kernels use more memory of the host, until it is unpinned or the Buffer ends."""
        self._held.pin(address, size)

    def unpin(self, address: int) -> None:
        """Undo ``pin``."""
        self._held.unpin(address)

    def region_tensor(self, offset: int, size: int) -> torch.Tensor:
        """uint8 [size] of the low-latency region on the device, from an offset on."""
        memory = self._memory
        if memory is None:
            raise self._gone()
        return memory.bytes()[offset : offset + size]

    @contextlib.contextmanager
    def launching(self) -> Iterator[None]:
        """Within the block kernels may be launched: the memory that they use stays.

        Raises:
            DestroyedError: the memory is given back, or will be as soon as the block is left; what
                waits of kernels found is not defined.
        """
        with self._turn:
            self._expect_to_stay()
            yield
            self._expect_to_stay()

    def _expect_to_stay(self) -> None:
        if self._leaving:
            raise self._gone()

    def _gone(self) -> DestroyedError:
        rank = self.communicator.rank
        return DestroyedError(f"rank {rank}: the Buffer is destroyed; build a new one")

    @contextlib.contextmanager
    def host_rings(self) -> Iterator[None]:
        """Within the block the host writes commands, and no kernel runs."""
        with self._turn:
            self.platform.synchronize()
            cells = self._tickets_to_host()
            try:
                yield
            finally:
                self._tickets_to_device(cells)

    def _tickets_to_host(self) -> list[_Cell]:
        first = table.TICKETS.value
        tickets = self.state[first : first + self.num_rings].cpu()
        cells = [_word(address + Native.RING_RESERVED_AT) for address in self._rings]
        for cell, ticket in zip(cells, tickets.tolist(), strict=True):
            cell[0] = ticket
        return cells

    def _tickets_to_device(self, cells: list[_Cell]) -> None:
        first = table.TICKETS.value
        now = torch.tensor([int(cell[0]) for cell in cells], dtype=torch.int64, device="cpu")
        self.state[first : first + self.num_rings] = now.to(self.platform.device)

    def leave(self) -> None:
        """Launch nothing new."""
        self._leaving = True

    def release(self) -> None:
        """Give the rings to the host for good, and back what kernels use of the host and of
        neighbours, once all kernels have ended.

        Where they do not end within the Buffer's deadline, all is kept until the process ends.
        """
        self.leave()
        patience_s = self.communicator.options.timeout_s
        entered = self._turn.acquire(timeout=patience_s)
        try:
            if not entered or not self.platform.rests(patience_s):
                self._held.keep(patience_s)
                self._finalizer.detach()
                return
            self._tickets_to_host()
            self._finalizer()
        finally:
            if entered:
                self._turn.release()

    def free(self) -> None:
        """Give its own memory back, after ``release``, once no neighbour writes into it any more.

        They should know that this rank leaves: a kernel that waits for it is still at work. What
        they still use after a moment is kept, see ``Region``.
        """
        regions = [one for one in (self._memory, self.inbox) if one is not None]
        if not self._held.used:
            wait_for([writer for one in regions for writer in one.writers], _FAREWELL_S)
        self._memory = self.inbox = None
        free_what_was_kept()


def _word(address: int) -> _Cell:
    return np.ctypeslib.as_array((ctypes.c_int64 * 1).from_address(address))
