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

from crossdock.proxy import Communicator, Exchange, diagnosis
from crossdock.proxy._native import PeerState
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
        self._rank_of: dict[int, int] = {}
        said = exchange.all_gather(_whereabouts().encode(), communicator.options.timeout_s)
        host = _host_of(_whereabouts())
        for rank, text in enumerate(map(bytes.decode, said)):
            if rank == communicator.rank or _host_of(text) != host:
                continue
            with contextlib.suppress(OSError):  # gone already: the communicator tells
                process = os.pidfd_open(int(text.rpartition(" ")[2]))
                self._rank_of[process] = rank
                self._poll.register(process, select.POLLIN)

    def run(self) -> None:
        """Look until somebody is lost, or nobody wants to know."""
        while not (self._look(_LOOK_MS) or self._over):
            pass
        for process in self._rank_of:
            os.close(process)

    def end(self) -> None:
        """Look once more, and no longer."""
        self._over = True
        self.join()

    def _look(self, limit_ms: int) -> bool:
        """Whether to look no more."""
        ended = [self._rank_of[process] for process, _ in self._poll.poll(limit_ms)]
        try:
            lost = diagnosis.lost_peers(self._communicator)
            text = str(diagnosis.loss_of(self._communicator, lost, "watch")) if lost else None
            if text is None and ended:
                text = self._text_of(ended[0])
        except DestroyedError:
            return True
        if text is not None:
            self._report(text)
        return text is not None or bool(ended)

    def _text_of(self, rank: int) -> str | None:
        """Before the communicator knows it; nothing for a rank that has left in peace, which it does
        know: a process goes on for a while after it has left."""
        state, _, _ = self._communicator.native.peer_state(rank)
        if state == PeerState.LEFT:
            return None
        me = self._communicator.rank
        return f"rank {me}: watch: rank {rank} has died: its process ended"


def _whereabouts() -> str:
    """The running kernel, the process's numbering of processes, and its own number."""
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{kernel} {Path('/proc/self/ns/pid').readlink()} {os.getpid()}"


def _host_of(whereabouts: str) -> str:
    return whereabouts.rpartition(" ")[0]
