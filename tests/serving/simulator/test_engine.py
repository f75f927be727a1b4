"""Whatever a policy does: no token and no request is lost, no limit exceeded, no draft changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.simulator.cases import COST, Whim, scenario

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator import Acceptance, Bursts, Limits, Workload, run
from crossdock.serving.simulator.arrivals import Closed, Gamma, poisson
from crossdock.serving.simulator.engine import Simulation
from crossdock.serving.simulator.log import Log
from crossdock.serving.turbospec.fixed import Fixed
from crossdock.serving.turbospec.step import Batch, Plan

LOADS = st.builds(
    scenario,
    arrivals=st.one_of(
        st.builds(Gamma, rate=st.floats(1.0, 80.0), cv=st.floats(0.5, 3.0)),
        st.builds(Closed, clients=st.integers(1, 24)),
    ),
    acceptance=st.builds(
        Acceptance,
        mean=st.floats(0, 1),
        decay=st.floats(0.5, 1),
        bursts=st.one_of(st.none(), st.builds(Bursts, st.just(0.1), st.just(8.0), st.just(4.0))),
    ),
    limits=st.builds(
        Limits,
        requests=st.integers(1, 16),
        tokens=st.integers(80, 512),
        blocks=st.integers(40, 200),
    ),
    carry=st.booleans(),
)


@settings(max_examples=20, deadline=None)
@given(LOADS, st.integers(0, 1000))
def test_nothing_is_lost_and_no_limit_is_exceeded(case, seed) -> None:  # type: ignore[no-untyped-def]
    whim, workload = Whim(seed), Workload(case, seed)

    def watch(simulation: Simulation) -> None:
        scheduler, limits = simulation.scheduler, case.limits
        held = sum(live.room for live in scheduler.running) // limits.block
        assert held == scheduler.in_use <= limits.blocks
        assert len(scheduler.running) <= limits.requests
        for live in scheduler.running:
            assert live.computed <= live.room
            assert live.emitted < live.request.output
            assert live.computed < live.request.prompt + live.emitted
        for live in scheduler.waiting:
            assert live.room == live.computed == 0

    log = run(workload, whim, watch=watch)
    assert (log.step("tokens") <= case.limits.tokens).all()
    assert log.step("generated").sum() == log.request("tokens").sum()
    assert len(whim.steps) == len(log.steps)
    assert len(set(whim.ended)) == len(whim.ended) <= len(log.requests)
    for step in whim.steps:
        columns = step.verified
        for drafts, accepted in zip(columns.drafts, columns.accepted, strict=True):
            assert 0 <= accepted <= drafts <= 4


@pytest.mark.parametrize("length", [0, 3])
def test_every_request_is_answered_whole(length: int) -> None:
    case = scenario(poisson(60.0))
    workload = Workload(case, 3)
    log = run(workload, Fixed(length), drain=True)
    count = [len(workload.times(phase)) for phase in (0, 1)]
    wanted = [workload.request(p, n).output for p in (0, 1) for n in range(count[p])]
    assert log.request("whole").all()
    assert sorted(log.request("tokens")) == sorted(wanted)
    assert (log.request("arrival") <= log.request("first")).all()
    assert (log.request("first") <= log.request("end")).all()


def test_a_full_cache_preempts_and_computes_again() -> None:
    tight = scenario(poisson(60.0), limits=Limits(requests=16, tokens=256, blocks=24))
    free = scenario(poisson(60.0), limits=Limits(requests=16, tokens=256, blocks=2000))
    tight_log, free_log = (run(Workload(case, 5), Fixed(2), drain=True) for case in (tight, free))
    assert tight_log.preemptions > 0 == free_log.preemptions
    assert sorted(tight_log.request("tokens")) == sorted(free_log.request("tokens"))
    prompts = [
        log.step("tokens").sum() - log.step("verified").sum() for log in (tight_log, free_log)
    ]
    assert prompts[0] > prompts[1] + 500


def same(one: Log, other: Log) -> bool:
    return np.array_equal(one.steps, other.steps) and np.array_equal(one.requests, other.requests)


def test_a_seed_says_all() -> None:
    case = scenario()
    first = run(Workload(case, 1), Whim(7))
    assert same(first, run(Workload(case, 1), Whim(7)))
    assert not same(first, run(Workload(case, 2), Whim(7)))


def accepted_at(seed: int, length: int) -> dict[tuple[str, int], bool]:
    """For each request and output position, whether the first draft for it was right."""
    workload = Workload(scenario(Closed(4)), 9)
    seen: dict[tuple[str, int], bool] = {}

    def watch(simulation: Simulation) -> None:
        now = {live.request.name: live.emitted for live in simulation.scheduler.running}
        for name, drafts, accepted in zip(*_columns(whim), strict=True):
            position = now[name] - accepted - 1
            for j in range(min(accepted + 1, drafts)):
                seen[name, position + j] = j < accepted

    whim = Whim(seed, length)
    run(workload, whim, watch=watch)
    return seen


def _columns(whim: Whim) -> tuple[list[str], list[int], list[int]]:
    verified = whim.steps[-1].verified
    return list(verified.requests), list(verified.drafts), list(verified.accepted)


def test_a_draft_is_right_or_wrong_whatever_the_policy_does() -> None:
    one, other = accepted_at(1, 4), accepted_at(2, 2)
    both = one.keys() & other.keys()
    assert len(both) > 50
    assert all(one[key] == other[key] for key in both)
    assert len({one[key] for key in both}) == 2


def test_more_acceptance_is_faster_and_none_is_as_no_speculation() -> None:
    rates = []
    for mean in (0.0, 0.6, 1.0):
        log = run(Workload(scenario(Closed(2), acceptance=Acceptance(mean)), 4), Fixed(3))
        rates.append(log.step("generated").sum() / log.step("seconds").sum())
    assert rates[0] < rates[1] < rates[2]
    sure = run(Workload(scenario(Closed(2), acceptance=Acceptance(1.0)), 4), Fixed(3))
    decoding = sure.step("requests") > 0
    assert sure.step("verified")[decoding].mean() > 2


def test_drafts_are_verified_a_step_after_they_are_planned() -> None:
    class Once(Whim):
        def plan(self, batch: Batch) -> Plan:
            length = 3 if len(self.steps) == 12 else 0
            return Plan(length, [length] * len(batch.requests), "once", 0.0, 0.0)

    log = run(Workload(scenario(Closed(1), acceptance=Acceptance(1.0)), 1), Once(0))
    assert np.flatnonzero(log.step("drafted")).tolist() == [12]
    assert np.flatnonzero(log.step("verified")).tolist() == [13]


@pytest.mark.parametrize(
    ("length", "short", "message"),
    [(5, 0, "drafts 5 tokens; 0 to 4"), (1, 1, "there are 1")],
)
def test_a_plan_that_does_not_fit_is_refused(length: int, short: int, message: str) -> None:
    class Wrong(Whim):
        def plan(self, batch: Batch) -> Plan:
            verify = [length] * max(0, len(batch.requests) - short)
            return Plan(length, verify, "wrong", 0.0, 0.0)

    with pytest.raises(ArgumentError, match=message):
        run(Workload(scenario(Closed(1)), 1), Wrong(0))


def test_a_request_that_never_fits_is_refused() -> None:
    small = dataclasses.replace(scenario(Closed(1)), limits=Limits(1, 64, blocks=2))
    with pytest.raises(ArgumentError, match="does not fit a KV cache of 32"):
        run(Workload(small, 1), Fixed(0))


def test_the_reported_length_of_a_step_can_be_wrong() -> None:
    whim = Whim(0)
    log = run(Workload(dataclasses.replace(scenario(), misreport=1.5), 1), whim)
    reported = np.array([step.seconds for step in whim.steps])
    assert reported == pytest.approx(1.5 * log.step("seconds"))


def test_a_step_lasts_what_its_work_costs() -> None:
    whim = Whim(1)
    run(Workload(dataclasses.replace(scenario(), noise=0.0, spikes=0.0), 1), whim)
    for step in whim.steps:
        assert step.seconds == pytest.approx(COST.seconds(step.work))
