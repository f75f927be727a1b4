"""Rules of ``lowering`` for what older versions tell in several instructions."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING

from crossdock.decompile.errors import CorruptCode

if TYPE_CHECKING:
    from crossdock.decompile.instructions import Instruction

_TELLING = "_TELLING"
"""How the name ends of an instruction that pushes a result and whether there is one."""


def qualified_name(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """The name of a function, which newer versions keep in its code object; it is what two of them
    must have in common, beside what they are made with."""
    name = before[-1] if before else one
    if name.op != "LOAD_CONST" or not isinstance(name.value, str) or one.offset in targets:
        raise CorruptCode(f"the function made at byte {one.offset} has no name")
    del before[-1]
    return [replace(one, value=(one.arg, name.value))]


def found_parts(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """A branch on whether there are the parts that a pattern asked for: None if there are not."""
    asked = before[-1] if before else one
    if not asked.op.endswith(_TELLING) or one.offset in targets:
        return [one]
    before[-1] = replace(asked, op=asked.op.removesuffix(_TELLING))
    return [replace(one, op="COPY", arg=1, value=1, target=-1), replace(one, op="POP_JUMP_IF_NONE")]


def compared_twice(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """The middle of ``a < b < c``: a copy of it goes below what it is compared with."""
    copy = before[-1] if before else one
    if (copy.op, one.arg) != ("DUP_TOP", 3) or one.offset in targets:
        return [one]
    before[-1] = replace(copy, op="SWAP", arg=2, value=2)
    return [replace(one, op="COPY", arg=2, value=2)]


def exit_call(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """The arguments of an exit function where nothing was raised: copies of one None."""
    given = before[-3:]
    if (
        [other.op for other in given] == ["LOAD_CONST", "DUP_TOP", "DUP_TOP"]
        and given[0].value is None
        and one.arg == 2
        and not any(other.offset in targets for other in (*given[1:], one))
    ):
        before[-2:] = [replace(given[0], offset=copy.offset) for copy in given[1:]]
    return [one]
