"""Who waits for whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crossdock.deploy.explain.gather import Evidence, waits_of
from crossdock.proxy.dump import Missing, Wait


@dataclass(frozen=True)
class Edge:
    """One rank waits for another one."""

    waiter: int
    missing: Missing
    wait: Wait
    waited_s: float

    @property
    def target(self) -> int:
        """The rank that is waited for."""
        return self.missing.rank


def edges_of(evidence: Evidence) -> list[Edge]:
    """All waits of all ranks."""
    edges = []
    for rank, one in evidence.dumps.items():
        for wait in waits_of(one):
            end_ns = wait.ended_ns or one.state.monotonic_ns
            waited_s = max(0, end_ns - wait.since_ns) / 1e9
            edges += [Edge(rank, missing, wait, waited_s) for missing in wait.missing]
    return edges


def roots(edges: Iterable[Edge]) -> list[frozenset[int]]:
    """Where the waiting ends: ranks that wait for nobody, and circles of ranks that wait for each
    other and for nobody else. Those with the most waiters, direct or not, come first.
    """
    targets: dict[int, set[int]] = {}
    for edge in edges:
        targets.setdefault(edge.waiter, set()).add(edge.target)
        targets.setdefault(edge.target, set())
    reach = {rank: _reached(rank, targets) for rank in targets}
    groups = {frozenset(_circle(rank, reach)) for rank in targets}
    ends = [group for group in groups if _is_end(group, targets)]
    return sorted(ends, key=lambda group: (-_waiters(group, reach), sorted(group)))


def _reached(start: int, targets: Mapping[int, set[int]]) -> set[int]:
    found: set[int] = set()
    open_ranks = [start]
    while open_ranks:
        new = targets[open_ranks.pop()] - found
        found |= new
        open_ranks += new
    return found


def _circle(rank: int, reach: Mapping[int, set[int]]) -> set[int]:
    return {rank} | {other for other in reach[rank] if rank in reach[other]}


def _is_end(group: frozenset[int], targets: Mapping[int, set[int]]) -> bool:
    return all(targets[rank] <= group for rank in group)


def _waiters(group: frozenset[int], reach: Mapping[int, set[int]]) -> int:
    return sum(1 for rank in reach if reach[rank] & group)
