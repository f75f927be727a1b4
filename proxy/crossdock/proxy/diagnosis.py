"""Turns what went wrong into the error that the user reads; the only place that does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossdock.proxy import nic_failures
from crossdock.proxy._native import (
    CommandCheck,
    FaultCode,
    Loss,
    PeerState,
    WaitStatus,
)
from crossdock.proxy.dump_text import lane_lines
from crossdock.proxy.errors import (
    Aborted,
    CommandError,
    CrossdockError,
    CutOff,
    DeadlineExceeded,
    DestroyedError,
    NicFailed,
    PeerLost,
    ProtocolError,
)

if TYPE_CHECKING:
    from crossdock.proxy.communicator import Communicator

_LOSSES = {
    Loss.NONE: "has left the job",
    Loss.PROCESS_ENDED: "has died: its process ended",
    Loss.CONNECTION_CLOSED: "has gone: its connections closed",
    Loss.BAD_FRAME: "sent bytes that are no frame",
    Loss.ABORTED: "has aborted",
    Loss.IO_ERROR: "is out of reach: errno",
}
_CHECKS = {
    CommandCheck.PEER: "its peer is no rank of the job",
    CommandCheck.SOURCE: "its source lies beyond the region of this rank",
    CommandCheck.DESTINATION: "its destination lies beyond the region of the peer",
    CommandCheck.COUNTER: "its counter is beyond the counters of the job",
    CommandCheck.OP: "its operation is none",
    CommandCheck.VALUE: "its value does not fit beside the sequence number of a signal",
}


def raise_for(
    communicator: Communicator,
    status: WaitStatus,
    missing: Sequence[int],
    what: str,
    *,
    timeout_s: float | None = None,
    counter: int | None = None,
    expected: int | None = None,
) -> None:
    """Raise the error that a wait ended with; return when it ended well.

    Call it with what a native wait returned::

        result = communicator.native.await_arrivals(peers, counter, amount, timeout_s)
        raise_for(communicator, result.status, result.missing, "dispatch of chunk 3")

    Args:
        communicator: where the wait ran.
        status: how it ended.
        missing: peers that were waited for in vain.
        what: what was waited for, as the user knows it.
        timeout_s: how long it was waited for.
        counter: index of the counter that was waited for, to show what arrived.
        expected: arrivals that were waited for.

    Raises:
        PeerLost: a peer has gone, with the rank that is to blame.
        CutOff: peers blame this rank, and go on without it or have aborted.
        DeadlineExceeded: the time is over, with the missing ranks.
        Aborted: ``abort`` was called on this rank.
        DestroyedError: ``destroy`` was called on this rank.
        CommandError: a command of this rank was refused.
        ProtocolError: a rank broke the protocol.
    """
    if status == WaitStatus.DONE:
        return
    error: CrossdockError
    if status == WaitStatus.FAULT:
        error = fault_of(communicator, what)
    elif status == WaitStatus.PEER_GONE:
        error = loss_of(communicator, missing, what)
    else:
        waited = communicator.options.timeout_s if timeout_s is None else timeout_s
        error = _late(communicator, missing, what, waited, (counter, expected))
    communicator.recording.tell(error)
    raise error


def raise_if_faulty(communicator: Communicator, what: str) -> None:
    """Raise the error of the communicator's fault, if it has one."""
    code, _, _ = communicator.native.fault()
    if code != FaultCode.NONE:
        error = fault_of(communicator, what)
        communicator.recording.tell(error)
        raise error


def lost_peers(communicator: Communicator) -> list[int]:
    """The ranks that are lost; those that left in peace are not among them."""
    native = communicator.native
    return [p for p in range(communicator.size) if native.peer_state(p)[0] == PeerState.LOST]


def culprit_of(communicator: Communicator, gone: Sequence[int]) -> int:
    """The rank that is to blame when ``gone`` have gone; it may be this one.

    A rank that died goes before ranks that aborted because of it, and a rank that aborted names
    the one that it blames.
    """
    aborted = None
    for peer in gone:
        state, loss, detail = communicator.native.peer_state(peer)
        if state != PeerState.LOST:
            continue
        if loss != Loss.ABORTED:
            return peer
        if aborted is None or aborted == communicator.rank:
            aborted = detail if 0 <= detail < communicator.size else peer
    return gone[0] if aborted is None else aborted


def loss_of(communicator: Communicator, gone: Sequence[int], what: str) -> PeerLost | CutOff:
    """The error for peers that have gone while they were waited for."""
    culprit = culprit_of(communicator, gone)
    if culprit == communicator.rank:
        return _cut_off(communicator, gone, what)
    message = f"rank {communicator.rank}: {what}: rank {culprit} {_fate(communicator, culprit)}"
    if culprit not in gone:
        message = (
            f"rank {communicator.rank}: {what}: rank {culprit} is lost, says rank {gone[0]}, "
            "which aborted because of it"
        )
    message += "; build a new communicator with the ranks that are left"
    _, loss, _ = communicator.native.peer_state(culprit)
    if loss != Loss.NIC_FAILURE:
        return PeerLost(culprit, message)
    failure = communicator.native.nic_failure(culprit)
    status = nic_failures.status_name(failure)
    return NicFailed(culprit, message, failure.nic, failure.queue_pair, status)


def _cut_off(communicator: Communicator, gone: Sequence[int], what: str) -> CutOff:
    rank = communicator.rank
    blaming = tuple(
        p for p in gone if communicator.native.peer_state(p)[1:] == (Loss.ABORTED, rank)
    )
    return CutOff(
        blaming,
        f"rank {rank}: {what}: this rank was given up by rank(s) {_joined(blaming)}, which go on "
        "without it or have aborted: it was masked, or silent for longer than their deadline "
        "because it was stopped, slow, or out of reach; build a new communicator with them",
    )


def fault_of(communicator: Communicator, what: str) -> CrossdockError:
    """The error for the fault of this rank."""
    code, peer, detail = communicator.native.fault()
    head = f"rank {communicator.rank}: {what}"
    if code == FaultCode.ABORTED and peer < 0:
        return DestroyedError(f"{head}: the communicator was destroyed meanwhile")
    if code == FaultCode.ABORTED:
        because = "" if peer == communicator.rank else f" because of rank {peer}"
        return Aborted(f"{head}: the communicator was aborted{because}; build a new one")
    if code == FaultCode.BAD_COMMAND:
        why = _CHECKS[CommandCheck(detail)]
        return CommandError(f"{head}: a command to rank {peer} was refused: {why}")
    if code == FaultCode.SEALED_TWICE:
        return ProtocolError(peer, f"{head}: rank {peer} sealed counter {detail} twice")
    if code == FaultCode.SEQUENCE_OVERRUN:
        why = f"sequence number {detail} lies outside the window"
        return ProtocolError(peer, f"{head}: rank {peer} broke the protocol: {why}")
    if code == FaultCode.PEER_LOST:
        return loss_of(communicator, [peer], what)
    why = f"immediate {detail:#010x} names no counter or no kind"
    return ProtocolError(peer, f"{head}: rank {peer} broke the protocol: {why}")


def _late(
    communicator: Communicator,
    missing: Sequence[int],
    what: str,
    waited_s: float,
    wanted: tuple[int | None, int | None],
) -> DeadlineExceeded:
    """The error for peers that let this rank wait; ``wanted``: counter, and arrivals expected."""
    head = f"rank {communicator.rank}: {what}: no word from rank(s) {_joined(missing)}"
    lines = [f"{head} within {waited_s:g} s"]
    lines += [_peer_line(communicator, peer, *wanted) for peer in missing]
    lines += _recorder_lines(communicator, missing)
    return DeadlineExceeded(tuple(missing), "\n  ".join(lines))


def _joined(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks)) or "any peer"


def _fate(communicator: Communicator, peer: int) -> str:
    _, loss, detail = communicator.native.peer_state(peer)
    if loss == Loss.NIC_FAILURE:
        return f"is out of reach: {nic_failures.described(communicator.native.nic_failure(peer))}"
    text = _LOSSES[loss]
    return f"{text} {detail}" if loss == Loss.IO_ERROR else text


def _peer_line(
    communicator: Communicator, peer: int, counter: int | None, expected: int | None
) -> str:
    native = communicator.native
    text = f"rank {peer} ({communicator.transport_of(peer)}) "
    text += {
        PeerState.ALIVE: "is alive",
        PeerState.LEFT: "has left",
        PeerState.LOST: "is lost",
        PeerState.MASKED: "is masked",
    }[native.peer_state(peer)[0]]
    if counter is None:
        return text
    arrived, total, sealed = native.counter(peer, counter)
    wanted = total if sealed else expected
    return f"{text}; counter {counter}: {arrived} arrived of {'?' if wanted is None else wanted}"


def _recorder_lines(communicator: Communicator, peers: Sequence[int]) -> list[str]:
    """What the flight recorders hold of the peers."""
    try:
        state = communicator.recording.state()
    except CrossdockError:
        return []  # destroyed by another thread meanwhile
    return [
        f"proxy {proxy}, rank {peer.rank}: {text}"
        for peer in state.peers
        if not peers or peer.rank in peers
        for proxy, lane in enumerate(peer.lanes)
        for text in lane_lines(lane, state.monotonic_ns, communicator.layout)
    ]
