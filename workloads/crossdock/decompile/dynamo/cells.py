"""Cells as values, which Dynamo hands on, and for which source has no word but a roundabout one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import CodeType

from torch._dynamo.bytecode_transformation import Instruction, create_instruction


def cells_in_words(instructions: Sequence[Instruction]) -> Iterator[Instruction]:
    """The instructions, with ``(lambda: x).__closure__[0]`` where the cell of ``x`` is a value."""
    for at, one in enumerate(instructions):
        if one.opname == "LOAD_CLOSURE" and not _is_for_a_function(instructions, at):
            yield from _cell(one)
        else:
            yield one


def _is_for_a_function(instructions: Sequence[Instruction], at: int) -> bool:
    """Whether the cell goes straight into the closure of a function that is made here."""
    begin = end = at
    while begin and instructions[begin - 1].opname == "LOAD_CLOSURE":
        begin -= 1
    while end < len(instructions) and instructions[end].opname == "LOAD_CLOSURE":
        end += 1
    names = [one.opname for one in instructions[end : end + 3]]
    if names != ["BUILD_TUPLE", "LOAD_CONST", "MAKE_FUNCTION"]:
        return False
    return at >= end - (instructions[end].arg or 0) and begin <= at


def _cell(one: Instruction) -> Iterator[Instruction]:
    yield one
    yield create_instruction("BUILD_TUPLE", arg=1)
    yield create_instruction("LOAD_CONST", argval=_reader(one.argval))
    yield create_instruction("MAKE_FUNCTION", arg=8)
    yield create_instruction("LOAD_ATTR", argval="__closure__")
    yield create_instruction("LOAD_CONST", argval=0)
    yield create_instruction("BINARY_SUBSCR")


def _reader(name: str) -> CodeType:
    """The code of ``lambda: name``, where the name is of a function around it."""
    source = f"def outer({name}):\n    return lambda: {name}\n"
    module = compile(source, "<cell>", "exec", dont_inherit=True)
    outer = next(one for one in module.co_consts if isinstance(one, CodeType))
    return next(one for one in outer.co_consts if isinstance(one, CodeType))
