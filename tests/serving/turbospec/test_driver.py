"""A driver tells its policy what happened, and never lets it into the engine's way."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from crossdock.serving.turbospec import Batch, Plan, Step, Verified, Work
from crossdock.serving.turbospec.driver import Driver, Outcome

_BATCH = Batch(["a", "b"], context=100)
_WORK = Work(2, 6, 100, 2)


class Hand:
    """A clock that is set by hand; each token of a step costs a second."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def ran(self, work: Work) -> None:
        self.time += work.tokens


class Asked:
    """A policy that keeps what it is told, and says what it is told to say."""

    def __init__(self, plan: Plan | Exception | None = None) -> None:
        self.answer = plan or Plan(2, [2, 1], "fixed", 4.0, 8.0)
        self.steps: list[Step] = []
        self.forgotten: list[str] = []

    def plan(self, batch: Batch) -> Plan:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def observe(self, step: Step) -> None:
        self.steps.append(step)

    def forget(self, requests: Iterable[str]) -> None:
        self.forgotten.extend(requests)


def driver(policy: Asked, clock: Hand | None = None) -> tuple[Driver, list[str]]:
    said: list[str] = []
    return Driver(policy, 3, said.append, clock or Hand()), said


def step(driver: Driver, generated: int = 3, work: Work = _WORK) -> Plan | None:
    """One step of an engine that schedules, runs and drafts by turns."""
    key = object()
    driver.begin()
    plan = driver.plan(_BATCH)
    driver.scheduled(key, work, 0, plan)
    driver.verified(key, Verified(["a"], [2], [1]), generated, busy=True)
    driver.end()
    return plan


def test_a_step_is_told_with_the_plan_that_it_followed() -> None:
    policy = Asked()
    ours, said = driver(policy)
    outcomes: list[Outcome] = []
    ours.observers.append(outcomes.append)
    first = step(ours)
    step(ours, generated=5)
    assert [one.seconds for one in policy.steps] == [6.0, 6.0]
    assert [one.generated for one in policy.steps] == [3, 5]
    assert [one.asked for one in policy.steps] == [0.0, 1.5]
    assert policy.steps[0].verified == Verified(["a"], [2], [1])
    assert [outcome.plan for outcome in outcomes] == [None, first]
    ours.forget({"a"})
    assert policy.forgotten == ["a"]
    assert said == []


def test_prompts_of_a_step_are_told() -> None:
    policy = Asked()
    ours, _ = driver(policy)
    key = object()
    ours.begin()
    ours.scheduled(key, _WORK, 4, None)
    ours.verified(key, Verified(), 1, busy=False)
    ours.end()
    assert [one.prefill for one in policy.steps] == [4]


def test_two_steps_under_way_are_told_in_turn() -> None:
    policy = Asked()
    ours, _ = driver(policy)
    keys = [object(), object(), object()]
    for number, key in enumerate(keys):
        ours.begin()
        ours.scheduled(key, Work(1, number + 1, 0, 0), 0, ours.plan(_BATCH))
    for key in keys[1:]:  # nothing came of the first
        ours.verified(key, Verified(), 1, busy=True)
        ours.end()
    assert [one.work.tokens for one in policy.steps] == [2, 3]


def test_a_step_without_drafts_ends_with_its_results() -> None:
    policy, clock = Asked(), Hand()
    ours, _ = driver(policy, clock)
    key = object()
    ours.begin()
    ours.scheduled(key, _WORK, 0, None)
    ours.verified(key, Verified(), 1, busy=False)
    clock.time += 0.5  # idle
    assert policy.steps == []
    step(ours)
    assert [one.seconds for one in policy.steps] == [6.0, 6.0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RuntimeError("out of luck"), "RuntimeError: out of luck"),
        (Plan(4, [1, 1], "fixed", 0.0, 0.0), "drafts 4 tokens of at most 3"),
        (Plan(-1, [0, 0], "fixed", 0.0, 0.0), "drafts -1 tokens"),
        (Plan(2, [1], "fixed", 0.0, 0.0), "plans 1 requests of 2"),
        (Plan(2, [3, 0], "fixed", 0.0, 0.0), "verifies 0 to 3 drafts of 2"),
        (Plan(2, [1, -1], "fixed", 0.0, 0.0), "verifies -1 to 1 drafts of 2"),
        (Plan(2, [1, 1], "fixed", 1.0, math.nan), "nan s"),
    ],
)
def test_a_policy_that_fails_is_asked_no_more(answer: Plan | Exception, expected: str) -> None:
    policy = Asked(answer)
    ours, said = driver(policy)
    assert step(ours) is None
    policy.answer = Asked().answer
    assert step(ours) is None
    assert policy.steps == []
    (text,) = said
    assert expected in text
    assert "goes on alone" in text


def test_a_clock_that_jumps_is_told_once_and_not_believed() -> None:
    policy, clock = Asked(), Hand()
    ours, said = driver(policy, clock)
    for _ in range(3):
        step(ours)
        step(ours, work=Work(2, -100, 0, 0))
    assert [one.seconds for one in policy.steps] == [6.0] * 3
    assert len(said) == 1
    assert "the clock jumps" in said[0]
    for _ in range(30):
        step(ours, work=Work(2, -100, 0, 0))
    assert len(said) == 2
    assert "goes on alone" in said[1]
    assert ours.policy is None


def test_a_clock_that_fails_ends_control_but_no_step() -> None:
    policy, clock = Asked(), Hand()
    ours, said = driver(policy, clock)
    clock.ran = None  # type: ignore[assignment]
    for _ in range(3):
        step(ours)
    assert len(said) == 1


def test_an_observer_that_fails_is_dropped_alone() -> None:
    policy = Asked()
    ours, said = driver(policy)
    kept: list[Outcome] = []

    def full(outcome: Outcome) -> None:
        raise OSError("no space left")

    ours.observers.extend([full, kept.append])
    step(ours)
    step(ours)
    assert len(kept) == len(policy.steps) == 2
    assert len(said) == 1
    assert "no space left" in said[0]


def test_an_observer_that_cannot_be_closed_keeps_none_from_being_closed() -> None:
    class Full:
        def __call__(self, outcome: Outcome) -> None:
            """Nothing is wrong yet."""

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    class Fine(Full):
        closed = False

        def close(self) -> None:
            self.closed = True

    asked, words = driver(Asked())
    fine = Fine()
    asked.observers = [Full(), fine]
    asked.close()
    assert fine.closed
    assert [word for word in words if "No space left on device" in word]
    assert asked.observers == []
