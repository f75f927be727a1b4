"""Loops that stand for calls of builtins are left out. Whole ones are tested in newer Python."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from crossdock.decompile import shortcuts
from crossdock.decompile.instructions import Instruction


def after(*given: tuple[str, int]) -> list[str]:
    """The instructions, the jumps among them to the last."""
    found = [Instruction(op, arg, None, -1, 2 * at, None) for at, (op, arg) in enumerate(given)]
    flow: Any = SimpleNamespace(instructions=found)
    shortcuts.leave_out(flow)
    return [one.op for one in found]


TEST = (("COPY", 1), ("LOAD_COMMON_CONSTANT", 3), ("IS_OP", 0), ("POP_JUMP_IF_FALSE", 9))


def test_the_call_is_made_whatever_the_name_is() -> None:
    assert after(("LOAD_GLOBAL", 0), *TEST, ("POP_TOP", 0)) == [
        *("LOAD_GLOBAL", "NOP", "NOP", "NOP", "JUMP", "POP_TOP")
    ]


def test_other_tests_stay() -> None:
    for at, other in ((0, ("COPY", 2)), (1, ("LOAD_CONST", 3)), (2, ("IS_OP", 1))):
        given = [other if place == at else one for place, one in enumerate(TEST)]
        assert after(*given) == [op for op, _ in given]
    assert after(*TEST[:3]) == [op for op, _ in TEST[:3]]
