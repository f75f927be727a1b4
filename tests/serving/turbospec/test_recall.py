"""Speculation that was switched off is tried again, less and less often while that fails."""

import itertools

from crossdock.serving.turbospec.acceptance import Acceptance
from crossdock.serving.turbospec.recall import Recall
from crossdock.serving.turbospec.step import Verified


def tries(recall: Recall, seconds: float, step_s: float = 0.01) -> list[float]:
    """When it recalls, in a time without speculation."""
    steps = range(1, round(seconds / step_s) + 1)
    return [i * step_s for i in steps if recall.pass_by(step_s, 0)]


def test_patience_doubles() -> None:
    times = tries(Recall(), 40.0)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 0.2 < times[0] < 0.3
    assert all(1.8 < b / a < 2.2 for a, b in itertools.pairwise(gaps))
    assert len(times) < 8


def test_speculation_that_lasts_makes_it_impatient_again() -> None:
    recall = Recall()
    tries(recall, 30.0)
    assert not any(recall.pass_by(0.1, 3) for _ in range(15))
    assert tries(recall, 1.5)


def test_speculation_that_ends_at_once_does_not() -> None:
    recall = Recall()
    tries(recall, 30.0)
    assert not recall.pass_by(0.1, 3)
    assert not tries(recall, 1.5)


def test_the_long_run_outlives_a_change() -> None:
    acceptance = Acceptance(2, memory=50.0, request_memory=24.0)
    names = ["a", "b", "c", "d"]
    for _ in range(100):
        acceptance.observe(Verified(names, [2] * 4, [2, 2, 2, 1]))
    good = acceptance.chance
    for _ in range(10):
        acceptance.observe(Verified(names, [2] * 4, [0] * 4))
    assert acceptance.chance < 0.3
    acceptance.recall()
    assert 0.5 < acceptance.chance < good
    assert sum(acceptance.accepted) + sum(acceptance.rejected) < 10
