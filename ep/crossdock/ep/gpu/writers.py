"""Who may still write into the memory of whose device.

A kernel writes into memory of a neighbour by itself: no proxy knows of it, and what a communicator
hears of a rank, as that it has aborted, may come long before its last kernel ends. So each rank has
a page that its neighbours read. Until it says there that it has closed their memory, or its process
has ended, it may write.
"""

from __future__ import annotations

import mmap
import os
import secrets
import select
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import msgspec

from crossdock.ep.gpu.platform import Platform
from crossdock.proxy.errors import TransportError

_LABEL = "crossdock-visit"
_NAME_BYTES = 16
_CLOSED_AT = _NAME_BYTES
_PAGE_BYTES = 4096
_POLL_S = 0.002


class Place(msgspec.Struct, frozen=True):
    """Where a rank's page is found, and the name on it: a number of a process may mean another
    process elsewhere."""

    pid: int
    file: int
    name: bytes


class Visit:
    """Memory of neighbours that this rank has open, and its page."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._opened: list[int] = []
        name = secrets.token_bytes(_NAME_BYTES)
        file = os.memfd_create(_LABEL)
        weakref.finalize(self, os.close, file)
        os.ftruncate(file, _PAGE_BYTES)
        self._page = mmap.mmap(file, _PAGE_BYTES)
        self._page[:_NAME_BYTES] = name
        self.place = Place(os.getpid(), file, name)

    def open(self, handle: bytes, size: int) -> int:
        """Another rank's memory; TransportError when it is out of reach."""
        address = self._platform.open(handle, size)
        self._opened.append(address)
        return address

    def close_one(self, address: int) -> None:
        """Close what is of no use after all."""
        self._opened.remove(address)
        self._platform.close(address)

    def close(self) -> None:
        """Close everything, once no kernel writes any more, and say so. Idempotent."""
        while self._opened:
            self._platform.close(self._opened.pop())
        self._page[_CLOSED_AT] = 1


class Writer:
    """A neighbour that may write into memory of this rank.

    Raises:
        TransportError: its page, or its process, cannot be seen from here.
    """

    def __init__(self, rank: int, place: Place) -> None:
        self.rank = rank
        path = Path(f"/proc/{place.pid}/fd/{place.file}")
        try:
            with path.open("rb") as file:
                self._page = mmap.mmap(file.fileno(), _PAGE_BYTES, prot=mmap.PROT_READ)
            if self._page[:_NAME_BYTES] != place.name:
                raise TransportError(f"rank {rank}: {path} is the file of another process")
            self._process = os.pidfd_open(place.pid)
        except (OSError, ValueError) as error:
            raise TransportError(f"rank {rank} cannot be watched: {error}") from error
        weakref.finalize(self, os.close, self._process)

    @property
    def is_done(self) -> bool:
        """Whether it will not write any more."""
        if self._page[_CLOSED_AT]:
            return True
        ended = select.poll()
        ended.register(self._process, select.POLLIN)
        return bool(ended.poll(0))


def not_done(writers: Sequence[Writer]) -> list[int]:
    """Ranks that may still write."""
    return sorted({writer.rank for writer in writers if not writer.is_done})


def wait_for(writers: Sequence[Writer], patience_s: float) -> None:
    """Return when no rank may write any more, or the time is over."""
    end = time.monotonic() + patience_s
    while not_done(writers) and time.monotonic() < end:
        time.sleep(_POLL_S)
