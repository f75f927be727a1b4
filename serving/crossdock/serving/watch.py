"""Says which rank has been lost, whatever this one waits for meanwhile.

An engine may be in a collective of another library when a rank dies, which names nobody, and end a
tenth of a second later. So processes of the same host are watched by the kernel; of other hosts the
communicator tells.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from crossdock.proxy import Communicator, Exchange, diagnosis
from crossdock.proxy.errors import DestroyedError

_LOOK_MS = 20


class Watch(threading.Thread):
    """Watches the other ranks from ``start`` to ``end``. Building one is collective.

    Args:
        communicator: of the ranks.
        exchange: how they meet.
        report: is told once.
    """

    def __init__(
        self, communicator: Communicator, exchange: Exchange, report: Callable[[str], object]
    ) -> None:
        super().__init__(name="crossdock-watch", daemon=True)
        self._communicator = communicator
        self._report = report
        self._over = False
        self._poll = select.poll()
        self._peers: dict[int, _Peer] = {}
        self._farewell = os.memfd_create("crossdock-farewell")
        mine = _whereabouts(self._farewell)
        said = exchange.all_gather(msgspec.json.encode(mine), communicator.options.timeout_s)
        for rank, data in enumerate(said):
            theirs = msgspec.json.decode(data, type=_Whereabouts)
            if rank == communicator.rank or theirs.host != mine.host:
                continue
            with contextlib.suppress(OSError):  # gone already, or hidden: the communicator tells
                farewell = os.open(f"/proc/{theirs.pid}/fd/{theirs.farewell}", os.O_RDONLY)
                process = os.pidfd_open(theirs.pid)
                self._peers[process] = _Peer(rank, farewell)
                self._poll.register(process, select.POLLIN)
        exchange.all_gather(b"", communicator.options.timeout_s)  # all files have been opened

    def run(self) -> None:
        """Look until somebody is lost, or nobody wants to know."""
        while not (self._look(_LOOK_MS) or self._over):
            pass

    def end(self) -> None:
        """Look once more, and no longer; this rank leaves in peace. Idempotent."""
        if self._over:
            return
        self._over = True
        os.write(self._farewell, b"!")
        self.join()
        for process, peer in self._peers.items():
            os.close(process)
            os.close(peer.farewell)
        os.close(self._farewell)

    def _look(self, limit_ms: int) -> bool:
        """Whether to look no more."""
        ended = [self._peers[process] for process, _ in self._poll.poll(limit_ms)]
        try:
            lost = diagnosis.lost_peers(self._communicator)
            text = str(diagnosis.loss_of(self._communicator, lost, "watch")) if lost else None
        except DestroyedError:
            return True
        for peer in ended:
            if text is None and not os.pread(peer.farewell, 1, 0):
                me = self._communicator.rank
                text = f"rank {me}: watch: rank {peer.rank} has died: its process ended"
        for process in [process for process, peer in self._peers.items() if peer in ended]:
            self._poll.unregister(process)
        if text is not None:
            self._report(text)
        return text is not None


class _Whereabouts(msgspec.Struct, frozen=True):
    """What a rank says of its process."""

    host: str
    """The running kernel, and the numbering of processes."""
    pid: int
    farewell: int
    """The file that is written to when the rank leaves."""


class _Peer(msgspec.Struct, frozen=True):
    """A rank of this host that has not ended yet."""

    rank: int
    farewell: int


def _whereabouts(farewell: int) -> _Whereabouts:
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return _Whereabouts(f"{kernel} {Path('/proc/self/ns/pid').readlink()}", os.getpid(), farewell)
