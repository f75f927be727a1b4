"""Slots of requests."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossdock.serving.turbospec.requests import Slots


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=400))
def test_no_two_requests_share_a_slot(steps: list[tuple[bool, int]]) -> None:
    slots = Slots()
    alive: dict[str, int] = {}
    for joins, number in steps:
        name = str(number)
        if joins:
            (slot,) = slots.of([name])
            assert alive.setdefault(name, int(slot)) == slot
        else:
            slots.forget([name])
            alive.pop(name, None)
        assert len(slots) == len(alive)
        assert len(set(alive.values())) == len(alive)


def test_a_batch_of_more_than_all_slots_has_room() -> None:
    slots = Slots()
    names = [str(i) for i in range(1000)]
    assert len(set(slots.of(names).tolist())) == 1000
    slots.add(slots.of(names[:2]), np.array([3, 0]), np.array([False, True]), 24.0)
    first, second = slots.of(names[:2])
    assert slots.good[[first, second]].tolist() == [3, 0]
    assert slots.bad[[first, second]].tolist() == [0, 1]


def test_a_new_request_knows_nothing_of_the_one_before() -> None:
    slots = Slots()
    slots.add(slots.of(["old"]), np.array([5]), np.array([False]), 24.0)
    slots.forget(["old", "unknown"])
    (slot,) = slots.of(["new"])
    assert slots.good[slot] == 0


def test_old_outcomes_fade() -> None:
    slots = Slots()
    for _ in range(100):
        slots.add(slots.of(["a"]), np.array([1]), np.array([False]), 10.0)
    (slot,) = slots.of(["a"])
    assert 9 < slots.good[slot] <= 10.0
