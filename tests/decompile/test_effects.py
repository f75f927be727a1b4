"""The heights of the stack beside what CPython says of its own instructions."""

from __future__ import annotations

import opcode

import pytest

from crossdock.decompile import effects

ARGUMENTS = (0, 1, 2, 3, 4, 5, 8, 9, 257)
OWN = {"CALL": 1, "CALL_FUNCTION_EX": 0, "LOAD_METHOD": 0, "SEND": 0}
"""``CALL`` here takes along what ``PRECALL`` takes in Python 3.11."""


@pytest.mark.parametrize(
    "name", [one for one in opcode.opmap if effects.net(one, 0) is not None and one not in OWN]
)
def test_net_is_that_of_cpython(name: str) -> None:
    number = opcode.opmap[name]
    if number < opcode.HAVE_ARGUMENT:
        assert effects.net(name, 0) == opcode.stack_effect(number, None)
        return
    for argument in ARGUMENTS:
        wanted = opcode.stack_effect(number, argument)
        if name == "FORMAT_VALUE":
            argument &= 7
        if name == "BUILD_SLICE" and argument not in {2, 3}:
            continue
        if name == "MAKE_FUNCTION":
            argument &= 15
        assert effects.net(name, argument) == wanted


def test_a_call_takes_what_both_its_instructions_take() -> None:
    for argument in range(9):
        both = sum(opcode.stack_effect(opcode.opmap[one], argument) for one in ("PRECALL", "CALL"))
        assert effects.net("CALL", argument) == both


def test_what_is_not_known_has_no_effect() -> None:
    assert effects.net("PRECALL", 1) is None
    assert effects.looked_at("LOAD_CONST") == 0
