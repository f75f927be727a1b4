"""The way from the ranks to the one that watches them: torch's TCPStore, used without any waiting.

Everything is bytes of its own making, never pickled.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
from collections.abc import Iterator

from torch.distributed import (  # type: ignore[attr-defined]
    DistError,
    PrefixStore,
    QueueEmptyError,
    Store,
    TCPStore,
)

from crossdock.decompile.dynamo.errors import StoreAbsent

PREFIX = "crossdock.decompile"
TIMEOUT_S = 3.0
"""For one answer of the store."""
START_S = 30.0
"""For its first answer, on a host where all ranks start at once."""
_TOLD = "told"
_ANSWER, _START = (datetime.timedelta(seconds=seconds) for seconds in (TIMEOUT_S, START_S))


class Channel:
    """One end. Those of the same store and prefix see the same."""

    def __init__(self, store: Store, port: int, prefix: str = PREFIX) -> None:
        self.port = port
        self._store = PrefixStore(prefix, store)

    @classmethod
    def hosted(cls) -> Channel:
        """An end with a store of its own, at ``port`` of this host; it ends with this object."""
        store = TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False, timeout=_START)
        return cls(store, store.port)

    @classmethod
    def connected(cls, host: str, port: int, prefix: str = PREFIX) -> Channel:
        """An end at a store elsewhere.

        Raises:
            StoreAbsent: none answers within seconds.
        """
        with _named():
            # TCPStore itself tries again and again where nobody listens.
            socket.create_connection((host, port), START_S).close()
            store = TCPStore(host, port, is_master=False, timeout=_START)
            store.set_timeout(_ANSWER)
            return cls(store, port, prefix)

    def tell(self, message: bytes) -> None:
        """Leave a message for the one that watches.

        Raises:
            StoreAbsent: the store is gone.
        """
        with _named():
            self._store.queue_push(_TOLD, message)

    def told(self) -> list[bytes]:
        """All messages that have come since the last time, in their order.

        Raises:
            StoreAbsent: the store is gone.
        """
        return self.take(_TOLD)

    def send(self, name: str, piece: bytes) -> None:
        """Put a piece at the end of a line of pieces; raises as ``tell``."""
        with _named():
            self._store.queue_push(name, piece)

    def take(self, name: str) -> list[bytes]:
        """All pieces of a line that are there; raises as ``told``."""
        pieces: list[bytes] = []
        with _named(), contextlib.suppress(QueueEmptyError):
            for _ in range(self._store.queue_len(name)):
                pieces.append(self._store.queue_pop(name, block=False))
        return pieces

    def put(self, name: str, value: str) -> None:
        """Set a value, over an older one; raises as ``tell``."""
        with _named():
            self._store.set(name, value)

    def get(self, name: str) -> str | None:
        """The value, if it was set; raises as ``told``."""
        with _named():
            if not self._store.check([name]):
                return None
            return self._store.get(name).decode(errors="replace")


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except QueueEmptyError:
        raise
    except (DistError, OSError) as error:
        raise StoreAbsent(f"the store does not answer: {str(error).splitlines()[0]}") from error
