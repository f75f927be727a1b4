"""Costs that are off are corrected, and single pauses are not believed."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.turbospec.test_cost import COSTS

from crossdock.serving.turbospec import Work
from crossdock.serving.turbospec.correction import PROFILED, ROUGH, Correction
from crossdock.serving.turbospec.cost import Floats, rough


def steps(count: int, seed: int = 3) -> list[Work]:
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        b, k = dice.choice((1, 8, 32, 128)), dice.randrange(6)
        made.append(Work(b, b * (1 + k), b * dice.randrange(100, 2000), k))
    return made


def off(correction: Correction, factors: Floats, works: list[Work]) -> float:
    """The mean relative error of predictions."""
    wrong = []
    for work in works:
        parts = np.array(COSTS.parts(work))
        wrong.append(abs(float(parts @ np.array(correction.factors)) / float(parts @ factors) - 1))
    return float(np.mean(wrong))


@pytest.mark.parametrize("factors", [(1.3, 0.7, 1.3, 1.3), (0.7, 1.3, 1.0, 0.7), (1.3,) * 4])
def test_parts_that_are_off_by_a_third_are_found(factors: tuple[float, ...]) -> None:
    true = np.array(factors)
    correction = Correction(COSTS, PROFILED)
    before = off(correction, true, steps(50, 9))
    for work in steps(300):
        correction.observe(work, float(np.array(COSTS.parts(work)) @ true))
    assert before > 0.1
    assert off(correction, true, steps(50, 9)) < 0.03


def test_a_drift_is_followed() -> None:
    correction = Correction(COSTS, PROFILED)
    for factor in np.linspace(1, 1.5, 800):
        for work in steps(1, int(factor * 1e6)):
            correction.observe(work, float(COSTS.seconds(work) * factor))
    assert off(correction, np.full(4, 1.5), steps(50, 9)) < 0.05


def test_a_rough_guess_becomes_a_model() -> None:
    model = rough(COSTS.seconds(Work(1, 1, 100, 0)), 1)
    correction = Correction(model, ROUGH)
    for work in steps(400):
        correction.observe(work, COSTS.seconds(work))
    wrong = [
        abs(
            float(np.array(model.parts(work)) @ np.array(correction.factors)) / COSTS.seconds(work)
            - 1
        )
        for work in steps(50, 9)
    ]
    assert float(np.mean(wrong)) < 0.15


def test_a_pause_moves_little() -> None:
    correction = Correction(COSTS, PROFILED)
    for work in steps(200):
        correction.observe(work, COSTS.seconds(work))
    correction.observe(Work(8, 16, 1000, 1), 30.0)
    assert off(correction, np.ones(4), steps(50, 9)) < 0.1


@pytest.mark.parametrize("seconds", [0.0, -0.1, math.nan, math.inf])
def test_a_time_that_is_none_changes_nothing(seconds: float) -> None:
    correction = Correction(COSTS, PROFILED)
    correction.observe(Work(8, 16, 1000, 1), seconds)
    assert correction.factors == (1, 1, 1, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from((PROFILED, ROUGH)))
def test_it_is_what_plain_arithmetic_gives(seed: int, spread: tuple[float, ...]) -> None:
    """A Kalman filter in matrices, whose state does not move but drifts."""
    dice = random.Random(seed)
    correction, most = Correction(COSTS, spread), np.square(spread)
    state, covariance = np.ones(4), np.diag(most)
    for work in steps(60, dice.randrange(1000)):
        seconds = COSTS.seconds(work) * dice.choice((0.4, 0.9, 1.0, 1.3, 30.0))
        parts = np.array(COSTS.parts(work))
        h = parts / parts.sum()
        covariance = covariance + np.diag(2e-4 * most)
        variance = float(h @ covariance @ h + (0.08 * (h @ state)) ** 2)
        bound = 3 * math.sqrt(variance)
        gain = covariance @ h / variance
        surprise = np.clip(seconds / parts.sum() - h @ state, -bound, bound)
        state = np.clip(state + gain * surprise, 0.02, 100)
        covariance = covariance - np.outer(gain, h @ covariance)
        for i in range(4):
            scale = np.ones(4)
            scale[i] = min(1.0, math.sqrt(most[i] / covariance[i, i]))
            covariance = covariance * np.outer(scale, scale)
        correction.observe(work, seconds)
        assert correction.factors == pytest.approx(state, rel=1e-9)
