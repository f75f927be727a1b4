"""Ranks with different loads draft the same length in each turn, and none waits for ever."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
import torch.distributed as dist

from crossdock.proxy.errors import ArgumentError, DeadlineExceeded
from crossdock.serving.turbospec import agreement
from crossdock.serving.turbospec.agreement import Agreement, Ballot, Board, chosen, idle, vote

MAX_DRAFT = 5
hash_store = vars(dist)["HashStore"]  # torch says nothing of its type


class Passes:
    """Forward passes of all ranks, which meet, and count the passes of the drafter."""

    def __init__(self, ranks: int) -> None:
        self._barrier = threading.Barrier(ranks, timeout=20)
        self.lengths: list[set[int]] = []
        self._lock = threading.Lock()

    def run(self, turn: int, length: int) -> None:
        with self._lock:
            while len(self.lengths) <= turn:
                self.lengths.append(set())
            self.lengths[turn].add(length)
        self._barrier.wait()


class Rank(threading.Thread):
    """A loop as an engine's: passes in step, ``lag`` of them under way, some of them dummies."""

    def __init__(self, rank: int, store: Any, passes: Passes, lag: int, turns: int) -> None:
        super().__init__(daemon=True)
        self._part = Agreement(Board(store, rank, 3, 10.0), MAX_DRAFT, lag)
        self._dice = random.Random(rank)
        self._rank, self._passes, self._lag, self._turns = rank, passes, lag, turns
        self.longest_s = 0.0
        self.idled = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            under_way: list[tuple[int, int]] = []
            for turn in range(self._turns):
                if len(under_way) == self._lag:
                    self._passes.run(*under_way.pop(0))
                start = time.perf_counter()
                under_way.append((turn, self._part.turn(self._ballot(turn))))
                self.longest_s = max(self.longest_s, time.perf_counter() - start)
            for last in under_way:
                self._passes.run(*last)
        except BaseException as error:
            self.error = error
            raise

    def _ballot(self, turn: int) -> Ballot | None:
        if (turn // (50 * (self._rank + 1))) % 3 == self._rank:
            self.idled += 1
            return None
        best = (turn // 400 + self._rank) % (MAX_DRAFT + 1)
        tokens = [self._dice.random() + 8.0 * (length == best) for length in range(MAX_DRAFT + 1)]
        return Ballot(tokens, [1.0 + 0.1 * length for length in range(MAX_DRAFT + 1)])


@pytest.mark.parametrize("lag", [1, 2])
def test_ranks_draft_the_same_length_in_10000_turns(lag: int) -> None:
    store, passes = hash_store(), Passes(3)
    ranks = [Rank(rank, store, passes, lag, 10_000) for rank in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.error for rank in ranks] == [None] * 3
    assert not any(rank.is_alive() for rank in ranks)
    assert len(passes.lengths) == 10_000
    assert [turn for turn, found in enumerate(passes.lengths) if len(found) != 1] == []
    assert len(set.union(*passes.lengths)) == MAX_DRAFT + 1
    assert all(rank.idled > 1000 for rank in ranks)
    assert store.num_keys() <= 3 * (agreement._KEPT + 1)


def test_ranks_would_meet_in_vain_without_it() -> None:
    """The passes of the test do tell lengths apart."""
    passes = Passes(2)
    other = threading.Thread(target=passes.run, args=(0, 4))
    other.start()
    passes.run(0, 2)
    other.join()
    assert passes.lengths == [{2, 4}]


def test_the_slowest_rank_and_all_tokens_count() -> None:
    small = Ballot([1.0, 1.9, 2.7], [1.0, 1.1, 1.2])
    large = Ballot([64.0, 80.0, 82.0], [2.0, 3.0, 4.0])
    assert chosen([small, idle(2)], 0) == 2
    assert chosen([small, large], 2) == 0
    assert chosen([idle(2), idle(2)], 2) == 0


def test_a_little_better_is_not_enough() -> None:
    ballot = Ballot([1.0, 1.02, 1.0], [1.0, 1.0, 1.0])
    assert chosen([ballot], 0) == 0
    assert chosen([Ballot([1.0, 1.05, 1.0], [1.0, 1.0, 1.0])], 0) == 1


def test_votes_count_by_requests_and_a_probe_is_granted() -> None:
    assert chosen([vote(4, 3, 10), vote(4, 1, 30)], 0) == 1
    probing = Ballot([9.0, 0.0, 0.0], [1.0, 1.0, 1.0], probe=2)
    assert chosen([probing, idle(2)], 0) == 2


def test_a_rank_that_is_missing_is_named_and_the_length_stays() -> None:
    store = hash_store()
    mine = Agreement(Board(store, 1, 3, deadline_s=0.1), 2, lag=1)
    theirs = Agreement(Board(store, 2, 3, deadline_s=0.1), 2, lag=1)
    theirs.turn(None)
    assert mine.turn(vote(2, 2, 4)) == 0
    with pytest.raises(DeadlineExceeded, match=r"rank 1 has waited .* turn 0 of ranks 0$"):
        mine.turn(vote(2, 2, 4))
    assert [mine.turn(vote(2, 2, 4)) for _ in range(20)] == [0] * 20


def test_ranks_of_other_lengths_are_refused() -> None:
    store = hash_store()
    mine = Agreement(Board(store, 0, 2, 0.1), 2, lag=1)
    Agreement(Board(store, 1, 2, 0.1), 3, lag=1).turn(None)
    mine.turn(None)
    with pytest.raises(ArgumentError, match="the same num_speculative_tokens"):
        mine.turn(None)


@pytest.mark.parametrize("lag", [0, agreement.INTERVAL])
def test_lag_that_cannot_be(lag: int) -> None:
    with pytest.raises(ArgumentError, match="lag is"):
        Agreement(Board(hash_store(), 0, 1), 2, lag)
