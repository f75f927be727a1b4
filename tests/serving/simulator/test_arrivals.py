"""Arrivals are as many as their rate says, in order, within their phase."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.arrivals import (
    Arrivals,
    Closed,
    Diurnal,
    Gamma,
    Markov,
    Steps,
    poisson,
)


@pytest.mark.parametrize(
    "arrivals",
    [
        poisson(20.0),
        Gamma(20.0, cv=2.0),
        Markov((5.0, 35.0), (2.0, 2.0)),
        Steps(((100.0, 10.0), (100.0, 30.0))),
        Diurnal(20.0, swing=0.8, period=50.0),
    ],
)
def test_as_many_as_the_rate_says(arrivals: Arrivals) -> None:
    times = arrivals.times(np.random.default_rng(1), 200.0)
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 200
    assert len(times) == pytest.approx(4000, rel=0.15)


def test_gamma_intervals_vary_as_asked() -> None:
    gaps = np.diff(Gamma(100.0, cv=2.0).times(np.random.default_rng(2), 200.0))
    assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.1)


def test_a_day_has_a_night() -> None:
    times = np.array(Diurnal(50.0, swing=1.0, period=100.0).times(np.random.default_rng(3), 100.0))
    assert ((times > 25) & (times < 75)).mean() > 0.7


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    for make in (poisson, lambda r: Diurnal(r, 0.5, 10.0), lambda r: Steps(((1.0, r),))):
        with pytest.raises(ArgumentError, match="must be above 0"):
            make(rate)
    with pytest.raises(ArgumentError, match="1 is the least"):
        Closed(0)
