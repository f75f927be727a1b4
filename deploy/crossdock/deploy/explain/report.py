"""How evidence and verdict are shown: the verdict first."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime

from crossdock.deploy.explain.gather import Evidence, waits_of
from crossdock.deploy.explain.graph import Edge
from crossdock.deploy.explain.verdict import Verdict, busy_with
from crossdock.proxy import schema
from crossdock.proxy.dump import Dump, Peer
from crossdock.proxy.dump_text import lane_lines

FORMAT_VERSION = 1
_RANKS_SHOWN = 16


def print_json(evidence: Evidence, verdict: Verdict, asked: Sequence[str]) -> None:
    """One object: a format version, the verdict, who waits for whom, notes."""
    report = {
        "format": FORMAT_VERSION,
        "job": evidence.job,
        "size": evidence.size,
        "verdict": {
            "kind": verdict.kind,
            "culprits": verdict.culprits,
            "text": verdict.text,
        },
        "waits": [_wait_of(edge) for edge in verdict.edges],
        "dumps": sorted(evidence.dumps),
        "live": {rank: [found.pid, found.state] for rank, found in evidence.live.items()},
        "notes": [*verdict.notes, *asked],
        "other_jobs": evidence.others,
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def print_text(evidence: Evidence, verdict: Verdict, asked: Sequence[str]) -> None:
    """The verdict, then what it is founded on."""
    for line in lines(evidence, verdict, asked):
        sys.stdout.write(line + "\n")


def lines(evidence: Evidence, verdict: Verdict, asked: Sequence[str] = ()) -> Iterator[str]:
    """The report, line by line."""
    yield f"{verdict.kind}: {verdict.text}"
    yield ""
    yield f"job {evidence.job}, {evidence.size} ranks, {len(evidence.dumps)} dumps"
    shown = _worth_showing(evidence, verdict)
    for rank in shown[:_RANKS_SHOWN]:
        yield from _rank_lines(evidence.dumps[rank], verdict)
    if len(shown) > _RANKS_SHOWN:
        yield f"... and {len(shown) - _RANKS_SHOWN} more ranks; --json shows all"
    if verdict.edges:
        yield "who waits for whom: " + ", ".join(_arrows(verdict.edges))
    for note in (*verdict.notes, *asked):
        yield f"note: {note}"
    if evidence.others:
        yield f"note: there are dumps of other jobs, too: --job {' | '.join(evidence.others)}"


def _worth_showing(evidence: Evidence, verdict: Verdict) -> list[int]:
    """Culprits first, then those that wait the longest."""
    longest: dict[int, float] = {}
    for edge in verdict.edges:
        longest[edge.waiter] = max(edge.waited_s, longest.get(edge.waiter, 0.0))
    order = sorted(evidence.dumps, key=lambda rank: (-longest.get(rank, 0.0), rank))
    return sorted(order, key=lambda rank: rank not in verdict.culprits)


def _rank_lines(one: Dump, verdict: Verdict) -> Iterator[str]:
    facts, state = one.facts, one.state
    when = datetime.fromtimestamp(state.wall_ns / 1e9).strftime("%H:%M:%S.%f")[:-3]
    why = one.reason.error or one.reason.kind
    done = f"{state.operation.ended} operations done" if state.operation.begun else "no operation"
    epoch = f", epoch {state.epoch}" if state.epoch else ""
    yield f"rank {facts.rank} on {facts.host}, process {facts.pid}: {why} at {when}, {done}{epoch}"
    if not waits_of(one):
        yield f"  waits for nobody; {busy_with(one)}"
    for edge in (edge for edge in verdict.edges if edge.waiter == facts.rank):
        yield f"  {_wait_text(edge)}"
        peer = next((peer for peer in state.peers if peer.rank == edge.target), None)
        if peer is not None:
            yield from (f"    {line}" for line in _peer_lines(one, peer))


def _peer_lines(one: Dump, peer: Peer) -> Iterator[str]:
    layout = schema.ImmediateLayout(one.facts.counter_bits, one.facts.sequence_bits)
    why = f" ({peer.loss})" if peer.loss != "none" else ""
    yield f"rank {peer.rank} over {one.facts.routes[peer.rank]}: {peer.state}{why}"
    for number, lane in enumerate(peer.lanes):
        for line in lane_lines(lane, one.state.monotonic_ns, layout):
            yield f"proxy {number}: {line}"


def _wait_text(edge: Edge) -> str:
    wait, missing = edge.wait, edge.missing
    what = ": ".join(filter(None, (wait.operation, wait.what)))
    text = (
        f"{'waited' if wait.ending else 'waits'} for rank {missing.rank} for {edge.waited_s:.1f} s"
    )
    text += f": {what}"
    if wait.ending:
        text += f", ended by {wait.ending}"
    if missing.arrived is None:
        return text
    wanted = missing.total if missing.sealed else wait.expected or None
    return f"{text}; counter {wait.counter}: {missing.arrived} of {wanted or '?'} arrived"


def _wait_of(edge: Edge) -> dict[str, object]:
    return {
        "rank": edge.waiter,
        "for": edge.target,
        "operation": edge.wait.operation,
        "what": edge.wait.what,
        "waited_s": edge.waited_s,
        "counter": edge.wait.counter if edge.wait.counter >= 0 else None,
        "arrived": edge.missing.arrived,
        "total": edge.missing.total if edge.missing.sealed else edge.wait.expected or None,
        "ending": edge.wait.ending or None,
    }


def _arrows(edges: Sequence[Edge]) -> list[str]:
    targets: dict[int, set[int]] = {}
    for edge in edges:
        targets.setdefault(edge.waiter, set()).add(edge.target)
    return [f"{rank} -> {'+'.join(map(str, sorted(to)))}" for rank, to in sorted(targets.items())]
