"""From the way an operation ended to the error that its caller sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from crossdock.ep._native import (
    LowLatencyMismatch,
    LowLatencyShape,
    Outcome,
    Refusal,
    RunStatus,
)
from crossdock.proxy import Communicator, raise_for
from crossdock.proxy._native import WaitStatus
from crossdock.proxy.errors import (
    CrossdockError,
    DeadlineExceeded,
    MismatchError,
    PeerArgumentError,
    PeerLost,
)

REFUSED = (CrossdockError, TypeError, ValueError, AttributeError)
"""What calls raise on purpose, or bad arguments may raise: the other ranks are told of each."""
_WAIT_STATUS = {
    RunStatus.DONE: WaitStatus.DONE,
    RunStatus.DEADLINE: WaitStatus.DEADLINE,
    RunStatus.PEER_GONE: WaitStatus.PEER_GONE,
    RunStatus.CUT_OFF: WaitStatus.PEER_GONE,
    RunStatus.FAULT: WaitStatus.FAULT,
}
_REFUSALS = {
    Refusal.ARGUMENTS: "refused its arguments; its own error says which",
    Refusal.MEMORY: "has no room in its heap; its own error says how much it lacks",
}


@contextlib.contextmanager
def cut_short(abort: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, or whatever else a signal handler raises, may come at any point of a block, and then
    nobody knows what has moved: the communicator is aborted, as ``settle`` does.
    """
    try:
        yield
    except REFUSED:
        raise
    except BaseException:
        abort()
        raise


def settle(communicator: Communicator, outcome: Outcome, what: str, timeout_s: float) -> None:
    """Return when the operation ran. Else nobody knows which of its rows have moved: the
    communicator is aborted, so that every rank learns it, and the error is raised.
    """
    if outcome.status == RunStatus.DONE:
        return
    try:
        raise_for(
            communicator,
            _WAIT_STATUS[outcome.status],
            outcome.missing,
            _waited_for(outcome, what),
            timeout_s=timeout_s,
            counter=outcome.counter if outcome.counter >= 0 else None,
        )
    except CrossdockError as error:
        communicator.abort(_culprit(error))
        raise


def _waited_for(outcome: Outcome, what: str) -> str:
    text = f"{what}: {outcome.waited_for}" if outcome.waited_for else what
    if outcome.held_up:
        ranks = ", ".join(map(str, outcome.held_up))
        text += f" (also of rank(s) {ranks}, held up themselves)"
    return text


def _culprit(error: CrossdockError) -> int | None:
    if isinstance(error, PeerLost):
        return error.rank
    if isinstance(error, DeadlineExceeded) and error.missing:
        return error.missing[0]
    return None


class Disagreeing(Protocol):
    """``_native.Disagreement``, or what a kernel has found."""

    @property
    def peer(self) -> int:
        """The rank that disagrees."""

    @property
    def refusal(self) -> Refusal:
        """Why it refuses; NONE when it does not."""

    @property
    def field(self) -> str:
        """What differs, else."""

    @property
    def theirs(self) -> int:
        """There."""

    @property
    def mine(self) -> int:
        """Here."""


def raise_disagreement(found: Disagreeing | None, rank: int, what: str) -> None:
    """Raise when the ranks could not begin the operation together. Nothing has moved."""
    if found is None:
        return
    if found.refusal != Refusal.NONE:
        raise PeerArgumentError(
            f"rank {rank}: {what}: rank {found.peer} {_REFUSALS[found.refusal]}"
        )
    raise MismatchError(
        f"rank {rank}: {what}: {found.field} is {found.mine} here, but {found.theirs} on rank "
        f"{found.peer}; it must be the same on every rank"
    )


def raise_mismatch(
    found: LowLatencyMismatch | None, mine: LowLatencyShape, rank: int, what: str
) -> None:
    """Raise when a rank called with another shape. The round is over; the Buffer can go on."""
    if found is None:
        return
    raise MismatchError(
        f"rank {rank}: {what}: called with {_described(mine)} here, but with "
        f"{_described(found.theirs)} on rank {found.peer}; it must be the same on every rank"
    )


def _described(shape: LowLatencyShape) -> str:
    return (
        f"num_max_dispatch_tokens_per_rank={shape.max_tokens}, hidden={shape.hidden}, "
        f"num_experts={shape.num_experts}, top-k={shape.topk}, format={shape.format}"
    )
