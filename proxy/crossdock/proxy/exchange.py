"""How ranks meet before there is a communicator: each brings some bytes and takes everybody's."""

from __future__ import annotations

import datetime
import hashlib
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from crossdock.proxy.errors import ArgumentError, DeadlineExceeded, MismatchError, TransportError

_POLL_S = 0.01
_LONGEST_WAIT_S = 3600.0  # what no store refuses; the loop goes on after it
_TOKEN_BYTES = 16


class Exchange(Protocol):
    """What a communicator needs of whatever starts the job."""

    @property
    def rank(self) -> int:
        """Number of this rank."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    def all_gather(self, data: bytes, deadline_s: float) -> list[bytes]:
        """The bytes of every rank, in order of rank.

        Args:
            data: what this rank brings.
            deadline_s: seconds from now.

        Raises:
            DeadlineExceeded: some ranks have not brought theirs; ``missing`` names exactly those.
        """


class Store(Protocol):
    """A key-value store shaped like torch's ``TCPStore`` and ``PrefixStore``."""

    def set(self, key: str, value: bytes, /) -> object:
        """Store a value."""

    def get(self, key: str, /) -> bytes:
        """The value of a key that is there."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys are there."""

    def wait(self, keys: list[str], timeout: datetime.timedelta, /) -> object:
        """Return when all keys are there; raise when the time is over."""

    def delete_key(self, key: str, /) -> bool:
        """Remove a key."""


def _checked(rank: int, size: int) -> None:
    if size < 1 or not 0 <= rank < size:
        raise ArgumentError(f"rank is {rank} of {size}, but must be between 0 and size - 1")


class StoreExchange:
    """Ranks meet in a store. ``prefix`` must not be used twice in the life of the store.

    Two processes that were given one rank would overwrite each other's parts, and each be met by
    some of the others. So a part begins with a token of its process and with a digest of the tokens
    of the last round: who met others, or others than before, learns it here.
    """

    def __init__(self, store: Store, rank: int, size: int, prefix: str) -> None:
        _checked(rank, size)
        self.rank = rank
        self.size = size
        self._store = store
        self._prefix = prefix
        self._round = 0
        self._token = secrets.token_bytes(_TOKEN_BYTES)
        self._met: list[bytes] = []

    def all_gather(self, data: bytes, deadline_s: float) -> list[bytes]:
        """See ``Exchange.all_gather``.

        Raises:
            MismatchError: a rank is two processes, or ranks were given different numbers of ranks.
            TransportError: the store failed.
        """
        parts = self._gather(self._token + _digest(self._met) + data, deadline_s)
        self._expect_same_ranks(parts)
        return [part[2 * _TOKEN_BYTES :] for part in parts]

    def _gather(self, data: bytes, deadline_s: float) -> list[bytes]:
        keys = [self._key(self._round, rank) for rank in range(self.size)]
        end = time.monotonic() + deadline_s
        try:
            self._store.set(keys[self.rank], data)
            self._wait(keys, end, deadline_s)
            gathered = [self._store.get(key) for key in keys]
        except (RuntimeError, OSError) as error:
            if isinstance(error, DeadlineExceeded):
                raise
            raise TransportError(f"rank {self.rank}: the store failed: {error}") from error
        # Whoever is in this round has read all of the round before.
        if self._round > 0:
            self._store.delete_key(self._key(self._round - 1, self.rank))
        self._round += 1
        return gathered

    def _expect_same_ranks(self, parts: Sequence[bytes]) -> None:
        tokens = [part[:_TOKEN_BYTES] for part in parts]
        before = self._met or [self._token if r == self.rank else t for r, t in enumerate(tokens)]
        for rank, (token, known) in enumerate(zip(tokens, before, strict=True)):
            if token != known:
                raise MismatchError(
                    f"rank {self.rank}: two processes have joined as rank {rank}; give each "
                    "process a rank of its own"
                )
        digest = _digest(self._met)
        for rank, part in enumerate(parts):
            if part[_TOKEN_BYTES : 2 * _TOKEN_BYTES] != digest:
                raise MismatchError(
                    f"rank {self.rank} and rank {rank} have met different processes; is each rank "
                    f"started once, and given the same number of ranks ({self.size} here)?"
                )
        self._met = tokens

    def _key(self, number: int, rank: int) -> str:
        return f"{self._prefix}/{number}/{rank}"

    def _wait(self, keys: list[str], end: float, deadline_s: float) -> None:
        """Stores wait well but cannot say for whom, so they are asked when a wait has failed."""
        while True:
            seconds = min(_LONGEST_WAIT_S, max(0.001, end - time.monotonic()))
            left = datetime.timedelta(seconds=seconds)
            try:
                self._store.wait(keys, left)
                return
            except (RuntimeError, OSError, LookupError):
                missing = tuple(r for r, key in enumerate(keys) if not self._store.check([key]))
            if not missing:
                return
            if time.monotonic() >= end:
                raise _late(self.rank, missing, deadline_s)
            time.sleep(_POLL_S)


class ThreadExchange:
    """Ranks that are threads of one process: for tests, and for jobs of one rank."""

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.size = meeting.size
        self._meeting = meeting
        self._round = 0

    @classmethod
    def group(cls, size: int) -> list[ThreadExchange]:
        """One exchange for each of ``size`` ranks."""
        _checked(0, size)
        meeting = _Meeting(size)
        return [cls(rank, meeting) for rank in range(size)]

    def all_gather(self, data: bytes, deadline_s: float) -> list[bytes]:
        """See ``Exchange.all_gather``."""
        gathered = self._meeting.all_gather(self._round, self.rank, data, deadline_s)
        self._round += 1
        return gathered


class _Meeting:
    """What the exchanges of one group share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._news = threading.Condition()
        self._rounds: dict[int, dict[int, bytes]] = {}

    def all_gather(self, number: int, rank: int, data: bytes, deadline_s: float) -> list[bytes]:
        with self._news:
            brought = self._rounds.setdefault(number, {})
            brought[rank] = data
            self._news.notify_all()
            if not self._news.wait_for(lambda: len(brought) == self.size, deadline_s):
                missing = tuple(r for r in range(self.size) if r not in brought)
                raise _late(rank, missing, deadline_s)
            self._rounds.pop(number - 1, None)
            return [brought[r] for r in range(self.size)]


def _digest(tokens: Sequence[bytes]) -> bytes:
    """A short name of those who met; of nobody before the first round."""
    return hashlib.sha256(b"".join(tokens)).digest()[:_TOKEN_BYTES]


def _late(rank: int, missing: Sequence[int], deadline_s: float) -> DeadlineExceeded:
    ranks = ", ".join(map(str, missing))
    return DeadlineExceeded(
        tuple(missing),
        f"rank {rank} waited {deadline_s:g} s for rank(s) {ranks} to join; are they running, and "
        "were they given the same number of ranks?",
    )
