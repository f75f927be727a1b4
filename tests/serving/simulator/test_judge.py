"""Regret is counted phase by phase, against the best fixed length of each."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.serving.simulator.cases import COST, SHORT, scenario

from crossdock.serving.simulator import Acceptance, Workload
from crossdock.serving.simulator.arrivals import Closed, poisson
from crossdock.serving.simulator.families import FAMILIES, scenarios
from crossdock.serving.simulator.figures import phases_of
from crossdock.serving.simulator.judge import Judge
from crossdock.serving.simulator.phases import Phase
from crossdock.serving.simulator.profiled import grid, misjudged, profiled
from crossdock.serving.turbospec.fixed import Fixed


@pytest.fixture(scope="module")
def judge() -> Judge:
    case = scenario(Closed(2))
    phases = [Phase(2.0, Closed(2), Acceptance(chance), SHORT) for chance in (0.95, 0.0)]
    return Judge(Workload(dataclasses.replace(case, phases=phases), 1))


def test_the_best_length_follows_the_phase(judge: Judge) -> None:
    assert judge.best == [4, 0]
    fixed = judge.fixed_verdicts()
    assert fixed[4].regret[0] == 0 < fixed[4].regret[1]
    assert fixed[0].regret[1] == 0 < fixed[0].regret[0]
    assert fixed[0].off == [0, 0]
    assert fixed[4].off[0] < 0 < fixed[4].off[1]
    assert fixed[4].converged_s == [0, 2.0]


def test_a_fixed_length_is_judged_as_its_own_run(judge: Judge) -> None:
    assert judge.verdict(Fixed(4)) == judge.fixed_verdicts()[4]


def test_slices_hold_all_tokens_and_busy_time(judge: Judge) -> None:
    for log in judge.logs:
        phases = phases_of(judge.workload.scenario, log)
        assert phases.tokens.sum() == log.step("generated").sum()
        assert phases.busy.sum() == pytest.approx(log.step("seconds").sum())


def test_all_lengths_have_done_the_same_work_when_a_phase_of_an_open_load_ends() -> None:
    """Else long drafts seemed best where prompts wait, by the prompts that were never computed."""
    seconds = 2.0
    case = scenario(poisson(150.0), seconds=seconds, carry=False)
    judge = Judge(Workload(case, 1))
    count = [len(judge.workload.times(phase)) for phase in (0, 1)]
    wanted = [
        sum(judge.workload.request(phase, n).output for n in range(count[phase]))
        for phase in (0, 1)
    ]
    for log, phases in zip(judge.logs, judge.fixed, strict=True):
        assert phases.tokens.sum(axis=1).tolist() == wanted
        assert phases.busy.sum() == pytest.approx(log.step("seconds").sum())
        assert log.request("whole").all()
        assert log.ends[0] > seconds  # the load is more than can be served
        assert log.ends[1] - log.ends[0] > seconds


def test_a_phase_of_which_nothing_waits_ends_as_planned() -> None:
    log = Judge(Workload(scenario(Closed(2), carry=False), 1)).logs[0]
    assert log.ends.tolist() == [1.0, 2.0]


def test_scenarios_are_the_same_for_the_same_seed() -> None:
    first, again, other = scenarios(6), scenarios(9)[:6], scenarios(6, seed=1)
    assert repr(first) == repr(again) != repr(other)
    assert [each.family for each in first[:3]] == [family.name for family in FAMILIES]


def test_a_profile_comes_near_the_truth_and_a_wrong_one_does_not() -> None:
    case = scenario()
    works = grid(case)
    truth = np.array([COST.seconds(work) for work in works])
    for cost, least, most in ((COST, 0.0, 0.02), (misjudged(COST, 1), 0.1, 0.35)):
        model = profiled(case, cost)
        off = np.abs(np.array([model.seconds(work) for work in works]) / truth - 1)
        assert least <= np.median(off) <= most
