"""Names the culprit. Facts that need no interpretation go before those that do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from crossdock.deploy.explain.gather import Evidence, waits_of
from crossdock.deploy.explain.graph import Edge, edges_of, roots
from crossdock.proxy.dump import Dump
from crossdock.proxy.dump_text import described_command, peer_of

_DEATHS = ("process ended", "connection closed", "io error")
_OWN_FAULTS = ("bad command",)
_PEER_FAULTS = ("bad immediate", "sequence overrun", "sealed twice")
_MAY_DIFFER = {"node", "tcp_address", "tcp_interface", "dump_dir", "dump_signal", "rdma_devices"}


class Kind(StrEnum):
    """What is the matter."""

    DEAD = "dead"
    FAULT = "fault"
    NIC = "nic"
    STOPPED = "stopped"
    NEVER_JOINED = "never joined"
    LEFT = "left"
    SILENT = "silent"
    COMPUTING = "computing"
    MISMATCH = "mismatch"
    NETWORK = "network"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Who is to blame, and why."""

    kind: Kind
    culprits: tuple[int, ...]
    text: str
    edges: tuple[Edge, ...] = ()
    notes: tuple[str, ...] = ()


def judge(evidence: Evidence) -> Verdict:
    """The verdict on a job."""
    edges = edges_of(evidence)
    found = None
    for look in _LOOKS:
        found = look(evidence, edges)
        if found is not None:
            break
    if found is None:
        found = Verdict(Kind.UNKNOWN, (), "no rank waits for another one")
    return Verdict(found.kind, found.culprits, found.text, tuple(edges), notes_of(evidence))


# ---- facts --------------------------------------------------------------------------------------


def _dead(evidence: Evidence, edges: Sequence[Edge]) -> Verdict | None:
    seen = _losses(evidence, lambda rank, loss: loss in _DEATHS and not _failed(evidence, rank))
    if not seen:
        return None
    parts = []
    for rank, observers in seen.items():
        how = sorted({loss for _, loss in observers})
        who = ranks_text(o for o, _ in observers)
        fate = "died: its process ended" if "process ended" in how else f"is gone: {', '.join(how)}"
        parts.append(f"rank {rank} {fate}, as {who} saw{_needed(rank, edges)}")
    return Verdict(Kind.DEAD, tuple(seen), "; ".join(parts))


def _faulty(evidence: Evidence, _edges: Sequence[Edge]) -> Verdict | None:
    for rank, one in evidence.dumps.items():
        fault = one.state.fault
        if fault is not None and fault.code in _OWN_FAULTS:
            why = one.reason.message.splitlines()[0] if one.reason.message else fault.code
            return Verdict(Kind.FAULT, (rank,), f"rank {rank} failed first: {why}")
        if fault is not None and fault.code in _PEER_FAULTS and fault.peer >= 0:
            text = f"rank {fault.peer} broke the protocol, as rank {rank} saw: {fault.code}"
            return Verdict(Kind.FAULT, (fault.peer,), f"{text}, detail {fault.detail}")
    return None


def _nic(evidence: Evidence, _edges: Sequence[Edge]) -> Verdict | None:
    for rank, one in evidence.dumps.items():
        for peer in one.state.peers:
            if peer.loss == "nic failure" and peer.state == "lost":
                what = peer.failure
                how = "" if what is None else f": {what.nic}, QP {what.queue_pair}, {what.status}"
                text = f"the way from rank {rank} to rank {peer.rank} failed{how}"
                return Verdict(Kind.NIC, (rank, peer.rank), text)
    return None


# ---- what the waiting says ----------------------------------------------------------------------


def _stopped(evidence: Evidence, edges: Sequence[Edge]) -> Verdict | None:
    waited_for = {edge.target for edge in edges}
    for rank, found in sorted(evidence.live.items()):
        if rank in waited_for and found.state.startswith("stopped"):
            text = f"rank {rank} is {found.state}: process {found.pid}{_needed(rank, edges)}"
            return Verdict(Kind.STOPPED, (rank,), text)
    return None


def _never_joined(evidence: Evidence, edges: Sequence[Edge]) -> Verdict | None:
    missing = {edge.target for edge in edges if edge.wait.operation == "meeting"}
    missing -= set(evidence.dumps)
    if not missing:
        return None
    absent = tuple(sorted(missing))
    waiters = ranks_text({edge.waiter for edge in edges})
    return Verdict(Kind.NEVER_JOINED, absent, f"{ranks_text(absent)} never joined {waiters}")


def _left(evidence: Evidence, edges: Sequence[Edge]) -> Verdict | None:
    for edge in edges:
        if edge.target in evidence.dumps or _state(evidence, edge) != "left":
            continue
        text = f"rank {edge.target} has left the job{_needed(edge.target, edges)}"
        return Verdict(Kind.LEFT, (edge.target,), text)
    return None


def _root(evidence: Evidence, edges: Sequence[Edge]) -> Verdict | None:
    for group in roots(edges):
        if len(group) > 1:
            return _of_circle(evidence, edges, sorted(group))
        (rank,) = group
        one = evidence.dumps.get(rank)
        if one is None:
            return _of_silent(evidence, edges, rank)
        return _of_busy(one, edges, rank)
    return None


def _of_silent(evidence: Evidence, edges: Sequence[Edge], rank: int) -> Verdict:
    found = evidence.live.get(rank)
    if found is None:
        why = "it was killed, is stopped, or runs on another host whose dumps are not here"
    else:
        advice = f"crossdock explain --signal {found.pid} asks it what it does"
        why = f"it runs as process {found.pid}; {advice}"
    text = f"rank {rank} is silent, and there is no dump of it{_needed(rank, edges)}; {why}"
    return Verdict(Kind.SILENT, (rank,), text)


def _of_busy(one: Dump, edges: Sequence[Edge], rank: int) -> Verdict:
    doing = busy_with(one)
    text = f"rank {rank} waits for nobody{_needed(rank, edges)}; it {doing}"
    return Verdict(Kind.COMPUTING, (rank,), text)


def _of_circle(evidence: Evidence, edges: Sequence[Edge], group: list[int]) -> Verdict:
    """Ranks that wait for each other: they are not in the same call, or the network is at fault."""
    labels = {rank: label_of(evidence.dumps[rank]) for rank in group}
    steps = {rank: evidence.dumps[rank].state.operation.begun for rank in group}
    for what, values in (("in", labels), ("in operation number", steps)):
        odd = _minority(values)
        if odd:
            parts = [f"{ranks_text(odd)} {_is(odd)} {what} {values[odd[0]]}"]
            rest = [rank for rank in group if rank not in odd]
            parts.append(f"{ranks_text(rest)} {_is(rest)} {what} {_joined(values, rest)}")
            text = f"{', but '.join(parts)}: they wait for each other"
            return Verdict(Kind.MISMATCH, tuple(odd), text)
    return _of_network(evidence, edges, group)


def _of_network(evidence: Evidence, edges: Sequence[Edge], group: list[int]) -> Verdict:
    for edge in edges:
        sender = evidence.dumps.get(edge.target)
        if sender is None:
            continue
        for ring in sender.state.rings:
            if ring.oldest is None or peer_of(ring.oldest.low) != edge.waiter:
                continue
            way, oldest = sender.facts.routes[edge.waiter], ring.oldest
            text = (
                f"rank {edge.target} has pushed what rank {edge.waiter} waits for, but over {way} "
                f"it is not acknowledged: ticket {oldest.ticket}, {described_command(oldest.low)}"
            )
            return Verdict(Kind.NETWORK, (edge.target, edge.waiter), text)
    text = f"{ranks_text(group)} wait for each other in the same operation; nothing is under way"
    return Verdict(Kind.NETWORK, tuple(group), f"{text}: were they given the same arguments?")


_LOOKS: tuple[Callable[[Evidence, Sequence[Edge]], Verdict | None], ...] = (
    _dead,
    _faulty,
    _nic,
    _stopped,
    _never_joined,
    _left,
    _root,
)


# ---- words --------------------------------------------------------------------------------------


def ranks_text(ranks: Iterable[int]) -> str:
    """rank 3; ranks 1, 2"""
    numbers = sorted(set(ranks))
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def label_of(one: Dump) -> str:
    """What a rank that waits is in: its operation, or the name of the wait."""
    waits = waits_of(one)
    return (waits[0].operation or waits[0].what) if waits else one.state.operation.name


def busy_with(one: Dump) -> str:
    """What the main thread of a rank does."""
    if one.python.silence:
        return "computes in native code: " + one.python.silence
    threads = sorted(one.python.threads, key=lambda thread: thread.name != "MainThread")
    if not threads or not threads[0].calls:
        return "computes"
    return f"is at {threads[0].calls[0]}"


def notes_of(evidence: Evidence) -> tuple[str, ...]:
    """What differs between ranks, though it should not; what may mislead."""
    notes = []
    for what in ("versions", "options"):
        chosen = {rank: getattr(one.facts, what) for rank, one in evidence.dumps.items()}
        names = {name for values in chosen.values() for name in values} - _MAY_DIFFER
        for name in sorted(names):
            values: dict[str, list[int]] = {}
            for rank, of_rank in chosen.items():
                values.setdefault(of_rank.get(name, "nothing"), []).append(rank)
            if len(values) > 1:
                parts = [f"{value} on {ranks_text(ranks)}" for value, ranks in values.items()]
                notes.append(f"{name} differs: {'; '.join(parts)}")
    absent = sorted(set(range(evidence.size)) - set(evidence.dumps))
    if absent:
        notes.append(f"no dump of {ranks_text(absent)}")
    return (*notes, *evidence.unread)


def _needed(rank: int, edges: Sequence[Edge]) -> str:
    waiting = [edge for edge in edges if edge.target == rank]
    if not waiting:
        return ""
    longest = max(waiting, key=lambda edge: edge.waited_s)
    what = ": ".join(filter(None, (longest.wait.operation, longest.wait.what)))
    who = ranks_text(edge.waiter for edge in waiting)
    verb = "wait" if len({edge.waiter for edge in waiting}) > 1 else "waits"
    return f"; {who} {verb} for it ({what}, {longest.waited_s:.1f} s)"


def _losses(
    evidence: Evidence, counts: Callable[[int, str], bool]
) -> dict[int, list[tuple[int, str]]]:
    seen: dict[int, list[tuple[int, str]]] = {}
    for observer, one in evidence.dumps.items():
        for peer in one.state.peers:
            if peer.state == "lost" and counts(peer.rank, peer.loss):
                seen.setdefault(peer.rank, []).append((observer, peer.loss))
    return seen


def _failed(evidence: Evidence, rank: int) -> bool:
    """Whether a rank had an error of its own before it was gone."""
    return rank in evidence.dumps and evidence.dumps[rank].reason.kind == "error"


def _state(evidence: Evidence, edge: Edge) -> str:
    peers = evidence.dumps[edge.waiter].state.peers
    return next((peer.state for peer in peers if peer.rank == edge.target), "")


def _minority(values: dict[int, str] | dict[int, int]) -> list[int]:
    """The ranks whose value is the rarest; none where all have the same."""
    counts = Counter(values.values())
    if len(counts) < 2:
        return []
    rarest = min(counts.items(), key=lambda item: (item[1], str(item[0])))[0]
    return [rank for rank, value in sorted(values.items()) if value == rarest]


def _joined(values: dict[int, str] | dict[int, int], ranks: Collection[int]) -> str:
    return " and ".join(sorted({str(values[rank]) for rank in ranks}))


def _is(ranks: Collection[int]) -> str:
    return "are" if len(ranks) > 1 else "is"
