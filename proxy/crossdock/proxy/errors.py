"""Every error that crossdock raises on purpose derives from ``CrossdockError``."""

from __future__ import annotations


class CrossdockError(Exception):
    """Base of all errors of crossdock."""


class CapacityError(CrossdockError, ValueError):
    """An object is too large for a field, a region or a ring; the message names the limit."""


class ArgumentError(CrossdockError, ValueError):
    """An argument does not fit what the call needs; the message holds the value and the limit."""


class MismatchError(CrossdockError, ValueError):
    """Ranks disagree about the arguments of a collective call; raised on every rank."""


class PeerArgumentError(CrossdockError):
    """Another rank refused its arguments of the same collective call."""


class DestroyedError(CrossdockError, RuntimeError):
    """The object was destroyed, or aborted, and cannot be used again."""


class ForkedError(CrossdockError, RuntimeError):
    """A forked child uses what its parent has built: the parent is the rank, the child is none."""


class TransportError(CrossdockError, OSError):
    """A transport could not be set up."""


class PeerLost(CrossdockError, ConnectionError):
    """A rank has gone. ``rank`` is its number."""

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(message)
        self.rank = rank


class NicFailed(PeerLost):
    """A NIC did not carry on with a rank.

    ``rank`` is the rank; ``nic`` the local device and port, such as ``mlx5_0:1``; ``queue_pair``
    the number of the local queue pair; ``status`` the verbs name of what its completion said.
    """

    def __init__(self, rank: int, message: str, nic: str, queue_pair: int, status: str) -> None:
        super().__init__(rank, message)
        self.nic = nic
        self.queue_pair = queue_pair
        self.status = status


class CutOff(CrossdockError, ConnectionError):
    """Other ranks have given this one up, and are there themselves. ``ranks`` lists them."""

    def __init__(self, ranks: tuple[int, ...], message: str) -> None:
        super().__init__(message)
        self.ranks = ranks


class DeadlineExceeded(CrossdockError, TimeoutError):
    """A wait outlived its deadline.

    ``missing`` lists the ranks that were waited for; of a call of a Buffer, without those that wait
    for others of them in turn.
    """

    def __init__(self, missing: tuple[int, ...], message: str) -> None:
        super().__init__(message)
        self.missing = missing


class Aborted(CrossdockError, RuntimeError):
    """The communicator was aborted while, or before, the call ran."""


class CommandError(CrossdockError, ValueError):
    """A command of this rank was refused: it names something that is not there."""


class ProtocolError(CrossdockError, RuntimeError):
    """A rank broke the protocol. ``rank`` is its number."""

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(message)
        self.rank = rank
