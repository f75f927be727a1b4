"""The virtual clock goes by what was measured, and the static table is the best by it."""

from __future__ import annotations

import dataclasses
import math

import pytest
from tests.serving.turbospec.test_cost import COSTS
from tests.serving.turbospec.test_profile import cells

from crossdock.bench.turbospec import _TABLE, clocks
from crossdock.bench.turbospec.contenders import best_table, contenders, expected, scaled
from crossdock.bench.turbospec.scenario import SCENARIOS, Phase
from crossdock.serving.turbospec import profile
from crossdock.serving.turbospec.step import Batch, Work


def test_table_goes_through_what_was_measured() -> None:
    table = clocks.Table(COSTS, cells())
    for place, cell in enumerate(cells()):
        assert table.seconds(cell.work) == pytest.approx(cell.seconds, rel=0.02), place


def test_table_lies_between_what_was_measured_and_grows_with_the_drafter() -> None:
    table = clocks.Table(COSTS, cells())
    costly = clocks.Table(COSTS, cells(), drafter_s=0.5)
    for requests in (1, 3, 20, 100):
        work = Work(requests, requests * 3, requests * 200, 2)
        assert 1.0 <= table.seconds(work) / COSTS.seconds(work) <= 1.1
        assert costly.seconds(work) == pytest.approx(table.seconds(work) + 1.0)
    nothing = Work(0, 0, 0, 0)
    assert math.isfinite(table.seconds(nothing))


def test_virtual_clock_is_charged_by_steps_only() -> None:
    table = clocks.Table(COSTS, cells())
    clock = clocks.Virtual(table)
    assert clock.now() == 0
    work = Work(4, 8, 400, 1)
    clock.ran(work)
    clock.ran(dataclasses.replace(work, tokens=0))
    assert clock.now() == table.seconds(work)


def test_processor_clock_goes_on_by_itself() -> None:
    clock = clocks.Processor()
    before = clock.now()
    clock.ran(Work(4, 8, 400, 1))
    assert sum(range(200_000)) > 0
    assert clock.now() > before


def test_installed_table_can_be_used() -> None:
    found = profile.load(_TABLE)
    assert found.errors.r2 > 0.95
    assert {cell.draft_length for cell in found.cells} == set(range(9))
    assert {1, 32} <= {cell.requests for cell in found.cells}


def test_static_table_is_the_best_for_the_phases() -> None:
    table = clocks.Table(COSTS, cells())
    phases = [Phase(1, (0.9,)), Phase(64, (0.1,)), Phase(8, (0.5, 0.9))]
    lengths = best_table(8, table, phases)
    assert set(lengths) == {1, 8, 64}
    for phase in phases:
        rates = [expected(phase, length, table) for length in range(9)]
        assert rates[lengths[phase.requests]] == max(rates)
    assert lengths[64] < lengths[1]


def test_contenders_are_made_anew() -> None:
    table = clocks.Table(COSTS, cells())
    found = contenders(4, COSTS, table, SCENARIOS[0], ablations=True)
    names = [contender.name for contender in found]
    assert names[:8] == ["k=0", "k=1", "k=2", "k=3", "k=4", "table", "paper", "crossdock"]
    assert len(set(names)) == len(names) > 8
    for contender in found:
        assert contender.make() is not contender.make()
    plan = found[3].make().plan(Batch(["a", "b"], 20))
    assert (plan.draft_length, list(plan.verify)) == (3, [3, 3])


def test_wrong_costs_are_wrong_by_the_tokens() -> None:
    off = scaled(COSTS, 1.3)
    few, many = Work(1, 1, 0, 0), Work(1, 200, 0, 0)
    added = COSTS.seconds(many) - COSTS.seconds(few)
    assert off.seconds(many) - off.seconds(few) == pytest.approx(1.3 * added)
