"""The register of attempts, and sums in the order of shards."""

from __future__ import annotations

import itertools

import numpy as np
from tests.workloads.rank.problems import problem

from crossdock.workloads.rank import Summary, summarise
from crossdock.workloads.rank.extraction import Register, _bytes, _Gathered

PARTS = np.array_split(np.arange(90), 3)


def summary(rows: np.ndarray) -> Summary:
    own = problem(rows=90)
    return summarise(own.features[rows], own.labels[rows], classes=4, numbers=rows)


def row(shard: int, reason: str = "") -> dict[str, object]:
    folds = {} if reason else {0: summary(PARTS[shard])}
    return {"shard": shard, "seconds": np.float64(0.5), "reason": reason, "folds": _bytes(folds)}


def test_a_part_that_never_ends_is_given_up_with_its_model() -> None:
    register = Register(2)
    assert register.begin(0, 0) == register.begin(1, 0) == register.begin(0, 0) == ""
    reason = register.begin(0, 0)
    assert reason.startswith("the worker process died 2 times while it ran this model on shard 0")
    assert register.begin(0, 1) == reason
    assert register.begin(1, 1) == ""


def test_a_part_that_ends_may_begin_again() -> None:
    register = Register(1)
    for _ in range(3):
        assert register.begin(0, 0) == ""
        register.end(0, 0)


def test_sums_are_the_same_to_the_bit_in_whatever_order_shards_come() -> None:
    found = []
    for order in itertools.permutations(range(3)):
        gathered = _Gathered(3)
        for shard in order:
            assert not gathered.done
            gathered.add(row(shard))
        assert gathered.done
        found.append(gathered.extracted())
    for each in found:
        assert (each.reason, each.seconds, list(each.folds)) == ("", 1.5, [0])
        np.testing.assert_array_equal(
            each.folds[0].statistics.gram, found[0].folds[0].statistics.gram
        )


def test_the_first_shard_with_a_reason_gives_the_models() -> None:
    gathered = _Gathered(3)
    for each in (row(2, "later"), row(0), row(1, "earlier")):
        gathered.add(each)
    assert gathered.extracted().reason == "earlier"
    assert gathered.extracted().folds == {}
