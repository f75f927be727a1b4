"""The published controller, with the faults that it is known for."""

import pytest
from tests.serving.turbospec.closed_loop import COSTS, Phase, run

from crossdock.serving.turbospec import Batch, Step, Verified, Work
from crossdock.serving.turbospec.paper import PaperController


def test_it_begins_with_optimism() -> None:
    assert PaperController(8, COSTS).plan(Batch(["a"], 100)).draft_length >= 4


def test_its_average_is_of_accepted_over_drafted() -> None:
    policy = PaperController(8, COSTS)
    policy.observe(Step(Work(1, 5, 0, 4), 0.01, Verified(["a"], [4], [1]), 2))
    assert policy.acceptance == pytest.approx(0.75 * 0.9 + 0.25 * 0.25)


def test_it_decides_every_twenty_steps() -> None:
    policy = PaperController(8, COSTS)
    first = policy.plan(Batch(["a"], 100)).draft_length
    policy.acceptance = 0.01
    lengths = [policy.plan(Batch(["a"], 100)).draft_length for _ in range(20)]
    assert lengths == [first] * 19 + [0]


def test_it_locks_itself_off() -> None:
    _, later = run(PaperController(8, COSTS), [Phase(64, 0.1), Phase(1, 0.95)])
    assert max(later.lengths[-20:]) <= 1


@pytest.mark.parametrize(("acceptance", "length"), [(0.15, 0), (0.25, 1)])
def test_no_speculation_is_favoured_by_a_tenth(acceptance: float, length: int) -> None:
    # A draft promises 5 and 14 % more goodput than none.
    policy = PaperController(1, COSTS)
    policy.acceptance = acceptance
    assert policy.plan(Batch(["a"], 200)).draft_length == length
