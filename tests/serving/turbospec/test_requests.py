"""Slots of requests."""

from hypothesis import given
from hypothesis import strategies as st

from crossdock.serving.turbospec.requests import Slots


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=400))
def test_no_two_requests_share_a_slot(steps: list[tuple[bool, int]]) -> None:
    cleared: list[int] = []
    slots = Slots(cleared.append)
    alive: dict[str, int] = {}
    for joins, number in steps:
        name = str(number)
        if joins:
            begins = name not in alive
            before = len(cleared)
            if begins:
                alive[name] = slots.take(name)
            assert cleared[before:] == ([slots.of[name]] if begins else [])
        else:
            slots.forget([name])
            alive.pop(name, None)
        assert slots.of == alive
        assert len(set(alive.values())) == len(alive)


def test_a_batch_of_more_than_all_slots_has_room() -> None:
    slots = Slots(lambda slot: None)
    for number in range(1000):
        slots.take(str(number))
    assert len(set(slots.of.values())) == 1000


def test_slots_are_used_again() -> None:
    cleared: list[int] = []
    slots = Slots(cleared.append)
    for number in range(1000):
        slots.take(str(number))
        slots.forget([str(number), "unknown"])
    assert len(set(cleared)) == 1
