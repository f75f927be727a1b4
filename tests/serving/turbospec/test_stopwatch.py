"""Steps are measured from end to end while the engine is busy, and not when the clock jumps."""

from __future__ import annotations

import math

import pytest

from crossdock.serving.turbospec.stopwatch import GAP_S_MAX, Stopwatch


def test_busy_steps_are_measured_from_end_to_end() -> None:
    watch = Stopwatch()
    watch.begin(10.0)
    assert watch.end(10.5, busy=True) == pytest.approx(0.5)
    watch.begin(10.6)
    assert watch.end(11.0, busy=True) == pytest.approx(0.5)
    watch.begin(11.0)  # two are under way, as in a scheduler that runs ahead
    watch.begin(11.1)
    assert watch.end(11.3, busy=True) == pytest.approx(0.3)
    assert watch.end(11.5, busy=True) == pytest.approx(0.2)


def test_idle_time_is_no_part_of_a_step() -> None:
    watch = Stopwatch()
    watch.begin(1.0)
    watch.end(1.5, busy=False)
    watch.begin(1.9)
    assert watch.end(2.0, busy=True) == pytest.approx(0.1)
    watch.begin(2.0 + 2 * GAP_S_MAX)
    assert watch.end(2.3 + 2 * GAP_S_MAX, busy=True) == pytest.approx(0.3)


@pytest.mark.parametrize("end", [5.0, 4.0, math.nan, math.inf, 1e6])
def test_a_jump_is_no_length(end: float) -> None:
    watch = Stopwatch()
    watch.begin(5.0)
    assert watch.end(end, busy=True) is None
    assert watch.strange == 1
    watch.begin(7.0)
    assert watch.end(7.25, busy=True) == pytest.approx(0.25)
    assert watch.strange == 0
