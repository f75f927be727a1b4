"""The plug-in's own time in vLLM's schedulers is told from theirs."""

from __future__ import annotations

import pytest

from crossdock.bench.turbospec import stage
from crossdock.bench.turbospec_overhead import COSTS
from crossdock.bench.turbospec_scheduler import OURS, THEIRS, SchedulerLoop


@pytest.fixture(autouse=True)
def own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop sets what is not set, and other tests of this process do not want it."""
    for name, value in stage.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_steps_of_a_scheduler_are_measured(asynchronous: bool) -> None:
    loop = SchedulerLoop(4, asynchronous, COSTS)
    steps = [loop.step() for _ in range(300)]
    assert all(0 < step[OURS] < 1.0 and 0 < step[THEIRS] < 1.0 for step in steps)
