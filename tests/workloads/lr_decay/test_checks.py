"""The checks, on values made for it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossdock.workloads.lr_decay import checks
from crossdock.workloads.lr_decay.checks import Check, Trained, Verdict, judge
from crossdock.workloads.runner import Value

NAMES = ["constant large", "constant small", "decay at 2"]


def value(**ends: float) -> Value:
    """A study of four epochs, in which everything is 0.5 until the decay."""
    flat = np.full((3, 5), 0.5)

    def ending(name: str) -> np.ndarray:
        curve = flat.copy()
        for place, schedule in enumerate(("large", "small", "decay")):
            curve[place, 3:] = ends.get(f"{name}_{schedule}", 0.5)
        return curve

    def stages(name: str) -> np.ndarray:
        found = np.full((3, 3), 0.5)
        found[2] = [ends.get(f"{name}_{stage}", 0.5) for stage in ("start", "before", "end")]
        return found

    return {
        "test": ending("test"),
        "noise fit": ending("noise"),
        "probe complex": ending("complex"),
        "transfer shares simple": stages("simple"),
        "transfer shares complex": stages("fine"),
        "transfer other classes": stages("other"),
    }


@pytest.mark.parametrize(
    ("statistic", "ends", "expected"),
    [
        (checks.complex_rise, {"complex_decay": 0.8, "complex_large": 0.7}, 0.3),
        (checks.complex_ahead, {"complex_decay": 0.8, "complex_large": 0.7}, 0.1),
        (checks.noise_fit_spared, {"noise_small": 0.9, "noise_large": 0.2}, 0.7),
        (checks.noise_fit_spared, {"noise_small": 0.1, "noise_large": 0.2}, -0.1),
        (
            checks.ahead_of_constants,
            {"test_decay": 0.8, "test_large": 0.9, "test_small": 0.6},
            -0.1,
        ),
        (
            checks.ahead_of_constants,
            {"test_decay": 0.8, "test_large": 0.6, "test_small": 0.7},
            0.1,
        ),
        (
            checks.gains_earlier("shares simple"),
            {"simple_start": 0.1, "simple_before": 0.7, "simple_end": 0.8},
            0.5,
        ),
        (
            checks.gains_earlier("other classes"),
            {"other_start": 0.6, "other_before": 0.5, "other_end": 0.7},
            -0.3,
        ),
        (
            checks.later_is_specific,
            {"simple_before": 0.5, "simple_end": 0.4, "fine_before": 0.5, "fine_end": 0.7},
            0.3,
        ),
    ],
)
def test_statistics_compare_what_they_say(
    statistic: checks.Statistic, ends: dict[str, float], expected: float
) -> None:
    assert statistic(Trained(value(**ends), NAMES), 2) == pytest.approx(expected)


CHECK = Check(claim="it rises", statistic=checks.complex_rise, above=0.1)


@pytest.mark.parametrize(
    ("middle", "spread", "verdict"),
    [
        (0.3, 0.05, "held"),
        (-0.3, 0.05, "not held"),
        (0.05, 0.01, "not held"),
        (0.1, 0.05, "undecided"),
        (0.15, 0.5, "undecided"),
    ],
)
def test_verdict_follows_the_interval(middle: float, spread: float, verdict: Verdict) -> None:
    noise = spread * np.array([-1.5, -1, -0.5, -0.2, 0, 0, 0.2, 0.5, 1, 1.5])
    outcome = judge(CHECK, {seed: [middle + one] for seed, one in enumerate(noise)})
    assert outcome.verdict == verdict
    assert outcome.mean == pytest.approx(middle)
    assert outcome.low < middle < outcome.high
    assert (outcome.seeds, outcome.above, outcome.claim) == (10, 0.1, "it rises")


def test_trials_of_a_seed_count_as_one() -> None:
    by_seed = {seed: [0.2 + 0.01 * seed, 0.4 + 0.01 * seed] for seed in range(6)}
    outcome = judge(CHECK, by_seed)
    merged = judge(CHECK, {seed: [0.3 + 0.01 * seed] for seed in range(6)})
    assert (outcome.mean, outcome.low, outcome.high) == pytest.approx(
        (merged.mean, merged.low, merged.high)
    )
    assert outcome.seeds == 6


def test_few_seeds_decide_nothing() -> None:
    clear = judge(CHECK, {seed: [0.9] for seed in range(checks.SEEDS_MIN - 1)})
    assert clear.verdict == "undecided"
    assert clear.mean == pytest.approx(0.9)
    one = judge(CHECK, {0: [0.9]})
    assert (one.verdict, one.seeds, math.isnan(one.low)) == ("undecided", 1, True)
    none = judge(CHECK, {0: [math.nan], 1: []})
    assert (none.verdict, none.seeds, math.isnan(none.mean)) == ("undecided", 0, True)


def test_what_has_diverged_is_left_out() -> None:
    by_seed = {seed: [0.5, math.nan] for seed in range(5)} | {5: [math.nan]}
    outcome = judge(CHECK, by_seed)
    assert (outcome.verdict, outcome.seeds) == ("held", 5)
    assert outcome.mean == pytest.approx(0.5)


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        _, low, high = checks.interval(list(chance.normal(0.3, 0.1, 30)))
        covered += low < 0.3 < high
    assert covered >= 50


def test_checks_of_the_study_are_those_that_were_fixed() -> None:
    assert list(checks.SEEDS) == list(range(10))
    assert [one.above for one in checks.OF_PATTERNS] == [0.0, 0.0, 0.0, -0.005, 0.0, 0.0]
    assert [one.above for one in checks.OF_DATA] == [0.0, -0.005, 0.0]
