"""Time of parties that call each other; the schedulers themselves are tried where vLLM is."""

from __future__ import annotations

import time

import pytest

from crossdock.bench.turbospec_scheduler import OURS, THEIRS, Watch


def test_each_party_has_its_own_time() -> None:
    watch = Watch()

    def inner(_: object) -> str:
        time.sleep(0.05)
        return "done"

    own = watch.around(THEIRS, inner)

    def outer(scheduler: object) -> str:
        time.sleep(0.02)
        done: str = own(scheduler)
        time.sleep(0.02)
        return done

    begin = time.perf_counter()
    assert watch.around(OURS, outer)(None) == "done"
    took = time.perf_counter() - begin
    assert watch.seconds[THEIRS] >= 0.05
    assert watch.seconds[OURS] >= 0.04
    assert sum(watch.seconds.values()) <= took


def test_an_error_ends_the_turn_of_a_party() -> None:
    watch = Watch()

    def failing(_: object) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        watch.around(OURS, failing)(None)
    before = dict(watch.seconds)
    time.sleep(0.02)
    watch.around(THEIRS, lambda _: None)(None)
    assert watch.seconds[OURS] == before[OURS]
    assert watch.seconds[THEIRS] < 0.02, "nobody has the time between"
