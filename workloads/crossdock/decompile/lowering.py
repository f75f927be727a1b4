"""From the instructions of a version to those that the rest of the package knows.

Those are nearly the instructions of Python 3.11. What one instruction alone tells is in the tables
of ``versions``; here are the rules for several that mean one. A rule sees the instructions before
the one that it works at, and may change or drop them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from crossdock.decompile.errors import Unstructured
from crossdock.decompile.versions.table import Table

if TYPE_CHECKING:
    from crossdock.decompile.instructions import Instruction

STOP = "STOPITERATION_ERROR"
"""What begins the handler around a generator."""

_TRUTHS = frozenset({"POP_JUMP_IF_TRUE", "POP_JUMP_IF_FALSE"})
_UNGUARDED = frozenset(
    {"RETURN_GENERATOR", "POP_TOP", "NOP", "JUMP", "LOAD_CONST", "RETURN_VALUE", STOP, "RERAISE"}
)
"""Instructions outside of the handler around a generator; all but the first raise nothing there."""

Rule = Callable[[list["Instruction"], "Instruction", Container[int]], list["Instruction"]]


def lowered(found: list[Instruction], table: Table, targets: Container[int]) -> list[Instruction]:
    """All instructions after the rules of a version. ``targets`` are the byte offsets where
    control comes from elsewhere: there no rule joins."""
    before: list[Instruction] = []
    for one in found:
        rule = table.joins.get(one.op)
        before += [one] if rule is None else RULES[rule](before, one, targets)
    return before


def kept_test(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """``COPY``, a test, ``POP_TOP``: the tested value stays where it jumps."""
    test = before[-1] if before else one
    copy = before[-2] if len(before) > 1 else one
    if (
        test.op not in _TRUTHS
        or (copy.op, copy.arg) != ("COPY", 1)
        or test.offset in targets
        or one.offset in targets
        or not copy.handler == test.handler == one.handler
    ):
        return [one]
    del before[-2:]
    way = test.op.rpartition("_")[2]
    return [replace(test, op=f"JUMP_IF_{way}_OR_POP", offset=copy.offset)]


def truth(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """``TO_BOOL`` before what takes a truth value."""
    if not before or before[-1].op != "TO_BOOL" or one.offset in targets:
        return [one]
    return [replace(one, offset=before.pop().offset)]


def class_cell(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """A name of a class body, else of a function around it."""
    if not before or before[-1].op != "LOAD_LOCALS" or one.offset in targets:
        return [one]
    return [replace(one, op="LOAD_CLASSDEREF", offset=before.pop().offset)]


def keywords(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """Names of arguments, and the call."""
    if not before or before[-1].op != "LOAD_CONST" or one.offset in targets:
        return [one]
    before[-1] = replace(before[-1], op="KW_NAMES")
    return [replace(one, op="CALL")]


def function_attribute(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """What a function is made with, the last of it first."""
    made = before[-1] if before else one
    if made.op != "MAKE_FUNCTION" or one.offset in targets or 0 < made.arg <= one.arg:
        return [one]
    arg = made.arg | one.arg
    before[-1] = replace(made, arg=arg, value=arg)
    return []


RULES: Mapping[str, Rule] = {
    one.__name__: one for one in (kept_test, truth, class_cell, keywords, function_attribute)
}


def unguard(name: str, found: list[Instruction], is_generator: bool) -> None:
    """Forget the handler around the whole of a generator, which is always there.

    Unstructured if a part of the generator is outside of it.
    """
    guards = {
        one.offset
        for one, two in itertools.pairwise(found)
        if (one.op, two.op) == (STOP, "RERAISE")
    }
    for one in found:
        if one.handler is not None and one.handler.target in guards:
            one.handler = None
        elif is_generator and one.handler is None and one.op not in _UNGUARDED:
            raise Unstructured(f"{name}: {one.op} at byte {one.offset} is outside of the generator")
