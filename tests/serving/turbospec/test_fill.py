"""How much of what is asked for a drafter has."""

import pytest

from crossdock.serving.turbospec import Step, Verified, Work
from crossdock.serving.turbospec.fill import Fill


def step(asked: float, drafts: int, requests: int = 8, prompts: int = 0) -> Step:
    work = Work(requests, requests + drafts + prompts, 0, 4)
    return Step(work, 0.01, Verified(), requests, prompts, asked)


def test_all_is_there_until_something_is_missing() -> None:
    fill = Fill()
    assert fill.share == 1.0
    for _ in range(100):
        fill.saw(step(asked=4, drafts=32, prompts=500))
    assert fill.share == pytest.approx(1.0)


def test_the_share_that_is_there_is_found_in_some_steps() -> None:
    fill = Fill()
    for _ in range(60):
        fill.saw(step(asked=4, drafts=8))
    assert fill.share == pytest.approx(0.25, abs=0.02)


def test_more_than_was_asked_for_is_not_believed() -> None:
    fill = Fill()
    for _ in range(60):
        fill.saw(step(asked=1, drafts=64))
    assert fill.share == pytest.approx(1.0)


def test_what_is_not_looked_for_is_forgotten() -> None:
    fill = Fill()
    for _ in range(60):
        fill.saw(step(asked=4, drafts=0))
    assert fill.share < 0.05
    for _ in range(1000):
        fill.saw(step(asked=0, drafts=0))
    assert fill.share == pytest.approx(1.0, abs=0.05)


def test_a_step_of_prompts_alone_tells_nothing() -> None:
    fill = Fill()
    fill.saw(Step(Work(0, 100, 0, 4), 0.01, Verified(), 0, 100, 4.0))
    assert fill.share == 1.0
