"""Regret, losses and intervals are what they are called, and the report says so."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import Record
from crossdock.bench.turbospec import judge, report
from crossdock.bench.turbospec.judge import Verdict, best_single, interval, verdicts
from crossdock.bench.turbospec.parts import Notebook, parts
from crossdock.bench.turbospec.stage import Ran

SPEEDS = {
    "k=0": [[100, 100], [50, 50]],
    "k=4": [[200, 160], [40, 30]],
    "table": [[190, 160], [45, 45]],
    "paper": [[150, 150], [30, 30]],
    "crossdock": [[198, 158], [50, 49]],
}
"""Tokens per second, by phase and seed."""


def ran(rate: float, steps: int = 100, wrong: int = 0) -> Ran:
    """A phase of so many steps, each of 4 tokens."""
    seconds = 4 / rate
    return Ran(
        steps=[((place + 1) * seconds, seconds, 4, 2) for place in range(steps)],
        times_per_token=[1 / rate] * 99 + [2 / rate] * 2,
        tokens=4 * steps,
        wrong=wrong,
    )


def record(wrong: int = 0) -> Record:
    notebook = Notebook()
    for seed in range(2):
        for phase in range(2):
            for name, rates in SPEEDS.items():
                mistakes = wrong if (seed, phase, name) == (1, 1, "paper") else 0
                notebook.add("virtual", "five", phase, name, ran(rates[phase][seed], 100, mistakes))
    return Record(question="turbospec", settings={}, series=notebook.series())


def by_name(found: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.contender: verdict for verdict in found}


def test_regret_is_to_the_best_of_each_phase_and_seed() -> None:
    found = by_name(verdicts(record()))
    assert list(found) == list(SPEEDS)
    assert found["k=0"].regret == pytest.approx((0.5 + (1 - 100 / 160)) / 4)
    assert found["k=4"].regret == pytest.approx((0.2 + 0.4) / 4)
    assert found["k=4"].worst == pytest.approx(0.3)
    ours = found["crossdock"]
    assert ours.regret == pytest.approx((2 / 200 + 2 / 160 + 0 + 1 / 50) / 4)
    assert ours.low <= ours.regret <= ours.high
    assert ours.steady == pytest.approx(ours.regret)
    assert ours.transition == pytest.approx(ours.regret)
    assert best_single(list(found.values())).contender == "k=4"


def test_luck_is_not_skill_where_times_scatter() -> None:
    rates = np.array([[[10.0, 10.0, 10.0]], [[12.0, 9.0, 8.0]]])  # (length, phase, seed)
    assert judge.best_rates(rates, exact=True).tolist() == [[12.0, 10.0, 10.0]]
    assert judge.best_rates(rates, exact=False).tolist() == [[10.0, 10.0, 10.0]]


def test_loss_is_that_of_the_worst_phase_to_no_speculation() -> None:
    found = by_name(verdicts(record()))
    assert found["k=0"].loss == 0
    assert found["k=4"].loss == pytest.approx((0.2 + 0.4) / 2)
    assert found["crossdock"].loss == pytest.approx((0 + 1 / 50) / 2)


def test_times_are_of_requests() -> None:
    found = by_name(verdicts(record()))
    assert found["k=0"].median_s == pytest.approx((0.01 + 0.02) / 2)
    assert found["k=0"].tail_s == pytest.approx(0.03)


def test_interval_holds_the_mean_and_shrinks_with_more() -> None:
    dice = np.random.default_rng(1)
    few, many = dice.normal(0.1, 0.05, (3, 2)), dice.normal(0.1, 0.05, (30, 20))
    low, high = interval(many)
    assert low < many.mean() < high
    assert high - low < interval(few)[1] - interval(few)[0]
    assert interval(np.full((3, 3), 0.5)) == (0.5, 0.5)


def test_transition_is_the_first_part_of_a_phase() -> None:
    slow = [(0.1 * (place + 1), 0.1, 1, 0) for place in range(10)]
    fast = [(1.0 + 0.1 * (place + 1), 0.1, 4, 0) for place in range(40)]
    found = parts(Ran(steps=slow + fast, times_per_token=[0.1], tokens=170))
    assert found[judge.TRANSITION] == pytest.approx(0.1)
    assert found[judge.STEADY] == pytest.approx(0.025)
    assert found[judge.ALL] == pytest.approx(5 / 170)


def test_phases_without_steps_are_refused() -> None:
    with pytest.raises(BenchFailed, match="make phases longer"):
        parts(Ran(steps=[(1.0, 1.0, 1, 0)], times_per_token=[1.0], tokens=1))


def test_report_says_what_was_found(tmp_path: pathlib.Path) -> None:
    good = record()
    text = "\n".join(report.lines(good))
    assert "# virtual clock, scenario five" in text
    assert "crossdock 1.1%, best single length (k=4) 15.0%" in text
    assert "all that is asked of it" in text
    assert "# wrong: 0 in 10 checked series" in text
    page = report.page(good)
    assert "| crossdock | 1.06 |" in page
    assert "## five, virtual clock" in page
    report.draw(good, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_report_says_what_is_missed() -> None:
    SPEEDS["crossdock"], kept = [[100, 100], [30, 30]], SPEEDS["crossdock"]
    try:
        text = "\n".join(report.lines(record(wrong=3)))
    finally:
        SPEEDS["crossdock"] = kept
    assert "is above 3%; worst phase" in text
    assert "k=4 has less regret" in text
    assert "# wrong: 3 in 10" in text
