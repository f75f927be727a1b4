"""One length of drafts for all ranks of a data-parallel group.

Why it is needed. In a mixture of experts the ranks run their forward passes together: each pass
holds collectives, and so does each pass of a drafter that is a model. A rank that drafts 5 tokens
makes more passes than one that drafts 2, and both wait for ever. A rank without requests takes
part too, by dummy batches, so it must know the length as well, though it plans nothing.

What is in step anyway. Each turn of a rank's loop makes one pass of the target model, real or
dummy; turn *n* of one rank meets turn *n* of all others, or the engine itself would hang. So a turn
is counted by each rank alone, and the number means the same everywhere.

How it is agreed. Every few turns each rank leaves a ballot on a board before its pass: the tokens
that it expects of each length and the seconds; nothing, if it idles. A rank that plans turn
*n + lag* has seen the end of its pass of turn *n* (``lag`` is how many passes an engine has under
way at once), which met the passes of all ranks, and those left their ballots before. So all ballots
of turn *n* are there when turn *n + lag* is planned: reading them waits for nobody, and a rank that
idles outside of the loop owes none. All ranks read the same ballots and count them by the same
arithmetic, so all get the same length. There is no collective that a rank could miss.

A rank that cannot read the ballots within its deadline keeps its last length from then on and says
which ranks are missing. The others may move on to another length, so such a group may hang: a rank
that leaves no ballot has left the loop or cannot reach the store, which ends the engine anyway.

What is chosen is the length with the most tokens of all ranks over the seconds of the slowest one.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from typing import Any, Protocol

from crossdock.proxy.errors import ArgumentError, DeadlineExceeded

INTERVAL = 8
"""Turns from one ballot to the next."""
GAIN = 0.03
"""By how much another length must be better."""
_KEPT = 4
"""Ballots of a rank that stay on the board."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ballot:
    """What a rank expects of each length, from 0 on."""

    tokens: Sequence[float]
    seconds: Sequence[float]
    probe: int = 0
    """A length that the rank wants to try out; 0: none."""

    def packed(self) -> str:
        """As it lies on the board; numbers come back as they were, to the last bit."""
        return json.dumps([self.probe, list(self.tokens), list(self.seconds)])

    @classmethod
    def unpacked(cls, data: bytes, lengths: int) -> Ballot:
        """From the board.

        Raises:
            ArgumentError: it was left by a rank with other lengths.
        """
        probe, tokens, seconds = json.loads(data)
        if len(tokens) != lengths or len(seconds) != lengths:
            raise ArgumentError(
                f"a ballot has {len(tokens)} lengths, this rank {lengths}: all ranks need the same "
                "num_speculative_tokens"
            )
        return cls(tokens, seconds, probe)


def idle(max_draft: int) -> Ballot:
    """Of a rank without requests."""
    nothing = (0.0,) * (max_draft + 1)
    return Ballot(nothing, nothing)


def vote(max_draft: int, length: int, requests: int) -> Ballot:
    """Of a rank whose policy has a wish but no predictions: its requests, for that length."""
    tokens = [0.0] * (max_draft + 1)
    tokens[length] = float(requests)
    return Ballot(tokens, (1.0,) * (max_draft + 1))


def chosen(ballots: Sequence[Ballot], now: int) -> int:
    """The length that all ranks take, when ``now`` is the one that they have."""
    goodput = []
    for length in range(len(ballots[0].tokens)):
        seconds = max(ballot.seconds[length] for ballot in ballots)
        tokens = sum(ballot.tokens[length] for ballot in ballots)
        goodput.append(tokens / seconds if seconds > 0 else 0.0)
    best = max(range(len(goodput)), key=goodput.__getitem__)
    if goodput[best] <= (1 + GAIN) * goodput[now] and goodput[best] > 0:
        best = now
    return max(best, *(ballot.probe for ballot in ballots))


class Store(Protocol):
    """What is used of a store of ``torch.distributed``."""

    def set(self, key: str, value: str, /) -> Any:
        """Keep a value."""
        ...

    def get(self, key: str, /) -> bytes:
        """A value that is there."""
        ...

    def wait(self, keys: list[str], timeout: datetime.timedelta, /) -> Any:
        """Until all are there; else some error."""
        ...

    def check(self, keys: list[str], /) -> bool:
        """Whether all are there."""
        ...

    def delete_key(self, key: str, /) -> bool:
        """Forget a value."""
        ...


class Board:
    """Where the ballots of all ranks lie."""

    def __init__(self, store: Store, rank: int, ranks: int, deadline_s: float = 2.0) -> None:
        self._store = store
        self._rank = rank
        self._ranks = ranks
        self._deadline_s = deadline_s

    def leave(self, turn: int, ballot: str, outdated: int) -> None:
        """Put this rank's ballot of a turn there, and take an outdated one away."""
        self._store.set(_key(turn, self._rank), ballot)
        if outdated >= 0:
            self._store.delete_key(_key(outdated, self._rank))

    def read(self, turn: int, deadline_s: float | None = None) -> list[bytes]:
        """The ballots of all ranks; by default within the board's deadline.

        Raises:
            DeadlineExceeded: some are missing; it names the ranks.
        """
        keys = [_key(turn, rank) for rank in range(self._ranks)]
        limit_s = self._deadline_s if deadline_s is None else deadline_s
        try:
            self._store.wait(keys, datetime.timedelta(seconds=limit_s))
        except Exception as error:
            missing = tuple(rank for rank, key in enumerate(keys) if not self._store.check([key]))
            raise DeadlineExceeded(
                missing,
                f"rank {self._rank} has waited {limit_s} s for the ballots of turn {turn} "
                f"of ranks {', '.join(map(str, missing))}",
            ) from error
        return [self._store.get(key) for key in keys]


class Agreement:
    """This rank's part in the agreement.

    Args:
        board: the one that all ranks share.
        max_draft: the most tokens that can be drafted.
        lag: passes that the engine has under way at once.
    """

    def __init__(self, board: Board, max_draft: int, lag: int) -> None:
        if not 1 <= lag < INTERVAL:
            raise ArgumentError(f"lag is {lag}, it must be from 1 to {INTERVAL - 1}")
        self._board = board
        self._lengths = max_draft + 1
        self._idle = idle(max_draft)
        self._lag = lag
        self._turn = 0
        self._length = 0
        self._failed = False

    def turn(self, ballot: Ballot | None) -> int:
        """The length of this turn; to be called once for each pass, before it.

        Args:
            ballot: what this rank expects; None where it runs a dummy batch.

        Raises:
            DeadlineExceeded: ranks did not leave a ballot. From then on the length stays as it is.
        """
        turn, self._turn = self._turn, self._turn + 1
        if self._failed:
            return self._length
        try:
            if turn % INTERVAL == 0:
                packed = (ballot or self._idle).packed()
                self._board.leave(turn, packed, turn - _KEPT * INTERVAL)
            if turn >= self._lag and (turn - self._lag) % INTERVAL == 0:
                left = self._board.read(turn - self._lag)
                ballots = [Ballot.unpacked(data, self._lengths) for data in left]
                self._length = chosen(ballots, self._length)
        except Exception:
            self._failed = True
            raise
        return self._length


def _key(turn: int, rank: int) -> str:
    return f"{turn}/{rank}"
