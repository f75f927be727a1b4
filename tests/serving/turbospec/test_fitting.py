"""Fits find the model that made the samples."""

import math
import random

import pytest
from tests.serving.turbospec.test_cost import COSTS

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import Work
from crossdock.serving.turbospec.fitting import errors, fit

GRID = [
    Work(requests=b, tokens=b * (1 + k), context=b * context, draft_length=k)
    for b in (1, 4, 16, 64, 128)
    for k in (0, 1, 3, 7)
    for context in (64, 1024)
]


def test_a_model_is_found_again() -> None:
    samples = [(work, COSTS.seconds(work)) for work in GRID]
    found = errors(fit(samples), samples)
    assert found.median < 0.005
    assert found.p90 < 0.03
    assert found.r2 > 0.99


def test_steps_of_padding_are_followed() -> None:
    padded = [(w, 0.01 + 0.004 * math.ceil(w.tokens / 128)) for w in GRID]
    assert errors(fit(padded), padded).p90 < 0.06


def test_scatter_does_not_mislead() -> None:
    dice = random.Random(5)
    noisy = [(work, COSTS.seconds(work) * dice.uniform(0.95, 1.05)) for work in GRID * 3]
    clean = [(work, COSTS.seconds(work)) for work in GRID]
    assert errors(fit(noisy), clean).p90 < 0.05


SIZES = (*range(1, 9), 10, 12, 14, *range(16, 256, 8))


def test_a_noisy_machine_gets_a_line_of_few_knots() -> None:
    dice = random.Random(1)
    noisy = [
        (Work(1, n, 0, 0), (0.01 + 1e-4 * n) * dice.uniform(0.85, 1.15))
        for n in SIZES
        for _ in "ab"
    ]
    assert len(fit(noisy).knots) == 8


def test_a_quiet_machine_gets_a_line_of_many_knots_for_padding() -> None:
    stairs = [(Work(1, n, 0, 0), 0.01 + 0.004 * math.ceil(n / 64)) for n in SIZES]
    model = fit(stairs)
    assert len(model.knots) > 8
    assert errors(model, stairs).median < 0.03


def test_stairs_are_found_where_lengths_come_by_turns() -> None:
    """Eight tokens fit into a padded batch, ten need the next one: what is best hangs on that."""
    dice = random.Random(2)
    grid = [
        Work(b, b * (1 + k), b * context, k)
        for b in (1, 2, 4, 8, 16, 32)
        for context in (128, 512, 2048)
        for k in range(5)
    ]
    stairs = {w: 0.008 + 0.0025 * math.ceil(w.tokens / 8) ** 0.5 for w in grid}
    model = fit([(w, seconds * dice.gauss(1.0, 0.01)) for w, seconds in stairs.items()])
    for tokens, k in ((8, 3), (10, 4)):
        work = Work(2, tokens, 1024, k)
        assert model.seconds(work) == pytest.approx(stairs[work], rel=0.02)


def test_the_worst_sample_is_named() -> None:
    samples = [(work, COSTS.seconds(work)) for work in GRID]
    odd = Work(requests=64, tokens=256, context=64 * 64, draft_length=3)
    samples[GRID.index(odd)] = (odd, 1.0)
    assert errors(COSTS, samples).worst_work == odd


def test_no_cost_is_negative_though_less_work_took_longer() -> None:
    falling = [(Work(1, n, 0, 0), 1.0 / n) for n in (1, 2, 4, 8)]
    model = fit(falling)
    assert model.seconds(Work(1, 8, 0, 0)) >= model.seconds(Work(1, 1, 0, 0))


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_named(seconds: float) -> None:
    samples = [(GRID[0], 0.1), (GRID[1], seconds)]
    with pytest.raises(ArgumentError, match=f"sample 1 took {seconds} s"):
        fit(samples)


def test_samples_of_one_size_do_not_suffice() -> None:
    with pytest.raises(ArgumentError, match="different numbers of tokens"):
        fit([(GRID[0], 0.1), (GRID[0], 0.2)])
    with pytest.raises(ArgumentError, match="different numbers of tokens"):
        fit([])
