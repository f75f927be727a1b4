"""The order of stores after a comprehension. What is inlined is tested in newer versions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossdock.decompile import inlining
from crossdock.decompile.instructions import Instruction

SLOTS = st.permutations([0, -1, -2, -3])


def stored(slot: int) -> Instruction:
    """A store, named after the slot it takes."""
    return Instruction("STORE_FAST", 0, f"x{slot}", -1, 0, None)


@given(SLOTS, st.integers(0, 4))
def test_slots_are_taken_in_their_order(slots: list[int], count: int) -> None:
    taken, after = slots[:count], list[object](slots[count:])
    found = inlining._in_order([(stored(slot), slot) for slot in taken], after)
    stack: list[object] = [-3, -2, -1, 0]
    names = []
    for one in found:
        if one.op == "SWAP":
            stack[-1], stack[-one.arg] = stack[-one.arg], stack[-1]
        else:
            names.append((one.value, stack.pop()))
    assert names == [(f"x{slot}", slot) for slot in taken]
    assert stack == after
