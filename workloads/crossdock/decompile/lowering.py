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

from crossdock.decompile import older
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.versions.table import Table

if TYPE_CHECKING:
    from crossdock.decompile.instructions import Instruction

STOP = "STOPITERATION_ERROR"
"""What begins the handler around a generator."""
FIRST_LINE, ATTRIBUTES = "__firstlineno__", "__static_attributes__"
"""What classes note of themselves."""
_CLASS_CELLS = frozenset({"__classcell__", "__classdictcell__"})
_CLOSURE = 8

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
    """``TO_BOOL`` before what takes a truth value, which does not raise: so the compiler may leave
    it outside of the handler of what comes before."""
    if not before or one.offset in targets:
        return [one]
    last = before[-1]
    offset = before.pop().offset if last.op == "TO_BOOL" else one.offset
    return [replace(one, offset=offset, handler=last.handler)]


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
    """What a function is made with, the last of it first. Cells are loaded as variables are."""
    made = before[-1] if before else one
    if made.op != "MAKE_FUNCTION" or one.offset in targets or 0 < made.arg <= one.arg:
        return [one]
    arg = made.arg | one.arg
    before[-1] = replace(made, arg=arg, value=arg)
    if one.arg == _CLOSURE and len(before) > 2 and before[-3].op == "BUILD_TUPLE":
        _load_cells(before, len(before) - 3 - before[-3].arg, before[-3].arg)
    return []


def class_cells(
    before: list[Instruction], one: Instruction, _: Container[int]
) -> list[Instruction]:
    """The cells that a class gives away, loaded as variables are."""
    if one.value in _CLASS_CELLS and len(before) > 1:
        at = len(before) - (2 if before[-1].op == "COPY" else 1)
        _load_cells(before, at, 1)
    return first_line(before, one)


def _load_cells(before: list[Instruction], first: int, count: int) -> None:
    for at in range(max(first, 0), first + count):
        if before[at].op == "LOAD_FAST":
            before[at] = replace(before[at], op="LOAD_CLOSURE")


def groups(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """The list of what handlers of groups raise is made below a copy of the exception."""
    last = before[-1] if before else one
    if (last.op, last.arg, one.arg) != ("BUILD_LIST", 0, 2) or one.offset in targets:
        return [one]
    before[-1] = replace(one, arg=1, value=1, offset=last.offset)
    return [last, replace(one, op="SWAP")]


def first_line(before: list[Instruction], one: Instruction) -> list[Instruction]:
    """The line where a class begins, which it notes before all else: that is layout."""
    names = [(other.op, other.value) for other in before[-2:]]
    if one.value == FIRST_LINE and names[:1] == [("STORE_NAME", "__qualname__")]:
        before[-1] = replace(before[-1], value=0)
    return [one]


def attributes(before: list[Instruction], one: Instruction, _: Container[int]) -> list[Instruction]:
    """The attributes that methods of a class set, which it notes at its end in no order."""
    at = len(before) - 2
    if [other.op for other in before[-2:]] == ["COPY", "STORE_NAME"]:
        at -= 2  # __classcell__
    if at > 0 and (before[at].op, before[at].value) == ("STORE_NAME", ATTRIBUTES):
        names = before[at - 1].value
        if isinstance(names, tuple) and all(isinstance(name, str) for name in names):
            before[at - 1] = replace(before[at - 1], value=tuple(sorted(names)))
    return [one]


RULES: Mapping[str, Rule] = {
    one.__name__: one
    for one in (
        *(kept_test, truth, class_cell, keywords, function_attribute),
        *(class_cells, attributes, groups),
        *(older.qualified_name, older.found_parts, older.compared_twice, older.exit_call),
    )
}


def unguard(name: str, found: list[Instruction], is_generator: bool) -> None:
    """Forget the handler around the whole of a generator, which is always there but in lambdas.

    Unstructured if a part of the generator is outside of it.
    """
    guards = {
        one.offset
        for one, two in itertools.pairwise(found)
        if (one.op, two.op) == (STOP, "RERAISE")
    }
    is_generator = is_generator and (bool(guards) or name != "<lambda>")
    for one in found:
        if one.handler is not None and one.handler.target in guards:
            one.handler = None
        elif is_generator and one.handler is None and one.op not in _UNGUARDED:
            raise Unstructured(f"{name}: {one.op} at byte {one.offset} is outside of the generator")
