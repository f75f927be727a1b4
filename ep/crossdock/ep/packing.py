"""Experts onto ranks: how many replicas each gets, and which rank holds which.

All of it is deterministic: of equal choices the one with the lowest number is taken.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Loads = NDArray[np.float64]
Numbers = NDArray[np.int64]

_TRIES = 8
_GOOD_ENOUGH = 1.01
_GAIN_MIN = 1e-9
"""Exchanges that gain less than this share of the load are noise of rounding, and could go on
forever."""


def place(loads: Loads, num_slots: int, num_ranks: int) -> list[list[int]]:
    """The experts that each rank holds, each expert on at least one.

    More replicas of heavy experts are not always better: with few slots on a rank it can be the
    slot that is wanted, and not the smaller load. So some numbers of replicas are tried, unless the
    first placement is as good as any can be.

    Args:
        loads: [experts].
        num_slots: a multiple of ``num_ranks``.
    """
    spare = num_slots - len(loads)
    even = float(loads.sum()) / num_ranks
    best, least = None, np.inf
    for useful in sorted({spare * n // _TRIES for n in range(_TRIES + 1)}, reverse=True):
        counts = replicate(loads, num_slots, num_ranks, useful)
        held = pack(loads / counts, counts, num_ranks)
        highest = max(float((loads / counts)[mine].sum()) for mine in held)
        if highest < least:
            best, least = held, highest
        if least <= even * _GOOD_ENOUGH:
            break
    assert best is not None
    return best


def replicate(loads: Loads, num_slots: int, num_ranks: int, useful: int) -> Numbers:
    """Replicas of each expert.

    Args:
        loads: [experts].
        num_slots: replicas in all, at least one for each expert.
        num_ranks: an expert gets no more replicas than this, unless there are slots for more.
        useful: of the slots that are left when each expert has one, so many are given out to make
            the largest load of a replica as small as possible; the others go to light experts.

    Returns:
        int64 [experts], their sum is ``num_slots``.
    """
    counts = np.ones(len(loads), dtype=np.int64)
    limit = max(num_ranks, -(-num_slots // len(loads)))
    # The heaviest replica can only get lighter by one more of the same expert, so that giving each
    # further slot to it is optimal.
    heap = [(-load, expert) for expert, load in enumerate(loads)]
    heapq.heapify(heap)
    for _ in range(useful):
        _, expert = heapq.heappop(heap)
        counts[expert] += 1
        if counts[expert] < limit:
            heapq.heappush(heap, (-loads[expert] / counts[expert], expert))
    left = num_slots - len(loads) - useful
    for expert in np.argsort(loads, kind="stable"):
        more = min(left, limit - int(counts[expert]))
        counts[expert] += more
        left -= more
    return counts


def pack(loads: Loads, counts: Numbers, num_ranks: int) -> list[list[int]]:
    """The experts that each rank holds, as many on each, no expert twice on one where possible.

    Heaviest first, each replica goes to the least loaded rank that has room. Then the heaviest rank
    exchanges experts with others as long as that helps.

    Args:
        loads: [experts], of one replica.
        counts: [experts], replicas of each; their sum is a multiple of ``num_ranks``.
    """
    bins = _Bins(loads, int(counts.sum()) // num_ranks, num_ranks)
    for expert in np.argsort(-loads, kind="stable"):
        for _ in range(counts[expert]):
            bins.add(int(expert))
    bins.improve()
    return [sorted(held) for held in bins.held]


class _Bins:
    """Ranks with equally many slots."""

    def __init__(self, loads: Loads, slots: int, num_ranks: int) -> None:
        self._loads = loads
        self._slots = slots
        self.held: list[list[int]] = [[] for _ in range(num_ranks)]
        self._sums = np.zeros(num_ranks, dtype=np.float64)

    def add(self, expert: int) -> None:
        """One more replica."""
        ranks = [rank for rank, held in enumerate(self.held) if len(held) < self._slots]
        others = [rank for rank in ranks if expert not in self.held[rank]]
        if others:
            self._put(expert, min(others, key=lambda rank: (self._sums[rank], rank)))
            return
        rank = min(ranks, key=lambda rank: (self._sums[rank], rank))
        exchange = self._exchange_for(expert, rank)
        if exchange is not None:
            giver, given = exchange
            self._take(given, giver)
            self._put(given, rank)
            rank = giver
        self._put(expert, rank)

    def _exchange_for(self, expert: int, rank: int) -> tuple[int, int] | None:
        """Which rank takes ``expert`` instead of ``rank``, which holds it already, and what it
        gives for it. A full rank without the expert always has something that ``rank`` has not, so
        it is None only when every rank has the expert.
        """
        best = None
        for giver, held in enumerate(self.held):
            if expert in held:
                continue
            for given in sorted(set(held) - set(self.held[rank])):
                load = self._loads[given]
                highest = max(
                    self._sums[rank] + load, self._sums[giver] - load + self._loads[expert]
                )
                if best is None or highest < best[0]:
                    best = highest, giver, given
        return None if best is None else best[1:]

    def improve(self) -> None:
        """Exchange experts of the heaviest rank while its load goes down."""
        if len(self.held) < 2:
            return
        for _ in range(4 * len(self.held) * self._slots):
            heaviest = int(self._sums.argmax())
            found = self._best_exchange(heaviest)
            if found is None:
                return
            mine, other, theirs = found
            self._take(mine, heaviest)
            self._take(theirs, other)
            self._put(mine, other)
            self._put(theirs, heaviest)

    def _best_exchange(self, heaviest: int) -> tuple[int, int, int] | None:
        """What the heaviest rank gives, to whom, for what."""
        held = np.array(self.held, dtype=np.int64)  # [ranks, slots]
        mine = held[heaviest]
        # [mine, ranks, slots]
        gain = self._loads[mine][:, None, None] - self._loads[held][None]
        highest = np.maximum(self._sums[heaviest] - gain, self._sums[None, :, None] + gain)
        has_mine = (held[None] == mine[:, None, None]).any(2)[:, :, None]
        mine_has = np.isin(held, mine)[None]
        highest[np.broadcast_to(has_mine | mine_has, highest.shape)] = np.inf
        at = np.unravel_index(int(highest.argmin()), highest.shape)
        least = self._sums[heaviest] * (1 - _GAIN_MIN)
        if not highest[at] < least:
            return None
        return int(mine[at[0]]), int(at[1]), int(held[at[1], at[2]])

    def _put(self, expert: int, rank: int) -> None:
        self.held[rank].append(expert)
        self._resum(rank)

    def _take(self, expert: int, rank: int) -> None:
        self.held[rank].remove(expert)
        self._resum(rank)

    def _resum(self, rank: int) -> None:
        # Anew, not by adding and taking away: so that the same experts have the same load.
        self._sums[rank] = self._loads[sorted(self.held[rank])].sum()


def arrange_like(new: Numbers, current: Numbers, num_ranks: int, num_nodes: int) -> Numbers:
    """The same placement with nodes, ranks of a node and slots of a rank named anew, so that many
    experts stay in their slots. Greedy: those that have most in common find each other first.

    Args:
        new, current: [slots], the expert of each.
    """
    nodes = new.reshape(num_nodes, -1)
    kept = current.reshape(num_nodes, -1)
    nodes = nodes[_partners(nodes, kept)]
    ranks_of_node = num_ranks // num_nodes
    out = []
    for mine, old in zip(nodes, kept, strict=True):
        ranks, before = mine.reshape(ranks_of_node, -1), old.reshape(ranks_of_node, -1)
        for rank, earlier in zip(ranks[_partners(ranks, before)], before, strict=True):
            out.append(_slots_like(rank, earlier))
    return np.concatenate(out)


def _partners(new: Numbers, current: Numbers) -> list[int]:
    """For each row of ``current`` the row of ``new`` that takes its place."""
    held = [np.bincount(row, minlength=int(max(new.max(), current.max())) + 1) for row in new]
    were = [np.bincount(row, minlength=len(held[0])) for row in current]
    common = np.array([[np.minimum(h, w).sum() for h in held] for w in were])
    partner = [-1] * len(current)
    for _ in range(len(current)):
        row, column = divmod(int(common.argmax()), len(new))
        partner[row] = column
        common[row, :] = -1
        common[:, column] = -1
    return partner


def _slots_like(new: Numbers, current: Numbers) -> Numbers:
    """The experts of a rank in the slots where they were; the others in the slots that are left."""
    rest = new.tolist()
    placed = np.full(len(new), -1, dtype=np.int64)
    for slot, expert in enumerate(current.tolist()):
        if expert in rest:
            rest.remove(expert)
            placed[slot] = expert
    placed[placed < 0] = rest
    return placed
