"""From the instructions of a version to those that the rest of the package knows.

Those are nearly the instructions of Python 3.11. What one instruction alone tells is in the tables
of ``versions``; here are the rules for several that mean one. A rule sees the instructions before
the one that it works at, and may change or drop them.
"""

from __future__ import annotations

import itertools
from collections import Counter
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
_ATTRIBUTES = (0, 8, 4, 16, 2, 1)
"""What a function is made with, as the compiler sets it: cells, annotations, or a function that
gives them, defaults."""
_ENTERS: Mapping[tuple[str, ...], str] = {
    ("COPY", "LOAD__EXIT__", "SWAP", "SWAP", "LOAD__ENTER__"): "BEFORE_WITH",
    ("COPY", "LOAD__AEXIT__", "SWAP", "SWAP", "LOAD__AENTER__"): "BEFORE_ASYNC_WITH",
}

_TRUTHS = frozenset({"POP_JUMP_IF_TRUE", "POP_JUMP_IF_FALSE"})
_UNGUARDED = frozenset(
    {"RETURN_GENERATOR", "POP_TOP", "NOP", "JUMP", "LOAD_CONST", "RETURN_VALUE", STOP, "RERAISE"}
)
"""Instructions outside of the handler around a generator; all but the first raise nothing there."""

Rule = Callable[[list["Instruction"], "Instruction", Container[int]], list["Instruction"]]


def threaded(found: list[Instruction]) -> list[Instruction]:
    """Without copies that are dropped wherever a test leads: that of a in ``a and b or c`` jumps to
    where the test of b drops its value."""
    places = {one.offset: at for at, one in enumerate(found)}
    jumps = Counter(one.target for one in found)
    left_out = set[int]()
    for at, one in enumerate(found[:-1]):
        copy, drop = _kept(found, at)
        if copy < 0 or jumps[found[drop].offset]:
            continue
        goal = places[one.target]
        other = max(goal - 1 - (found[goal - 1].op == "NOT_TAKEN"), 0)
        if _kept(found, other)[1] == goal and goal + 1 < len(found):
            left_out |= {copy, drop}
            jumps[one.target] -= 1
            one.target = found[goal + 1].offset
            jumps[one.target] += 1
    return [one for at, one in enumerate(found) if at not in left_out]


def _kept(found: list[Instruction], test: int) -> tuple[int, int]:
    """The places where the value of a test is copied before and dropped behind; else -1."""
    copy = max(test - 1 - (found[test - 1].op == "TO_BOOL"), 0)
    drop = test + 1 + (found[min(test + 1, len(found) - 1)].op == "NOT_TAKEN")
    if found[test].op not in _TRUTHS or (found[copy].op, found[copy].arg) != ("COPY", 1):
        return -1, -1
    return (copy, drop) if drop < len(found) and found[drop].op == "POP_TOP" else (-1, -1)


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
    if made.op != "MAKE_FUNCTION" or one.offset in targets or not _follows(one.arg, made.arg):
        return [one]
    arg = made.arg | one.arg
    before[-1] = replace(made, arg=arg, value=arg)
    if one.arg == _CLOSURE and len(before) > 2 and before[-3].op == "BUILD_TUPLE":
        _load_cells(before, len(before) - 3 - before[-3].arg, before[-3].arg)
    return []


def _follows(attribute: int, made: int) -> bool:
    """Whether a function gets an attribute after all that it was made with."""
    if attribute not in _ATTRIBUTES:
        return False
    return not any(made & other for other in _ATTRIBUTES[_ATTRIBUTES.index(attribute) :])


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


def small_int(_: list[Instruction], one: Instruction, __: Container[int]) -> list[Instruction]:
    """A number that is its own argument."""
    return [replace(one, op="LOAD_CONST")]


def nothing(_: list[Instruction], __: Instruction, ___: Container[int]) -> list[Instruction]:
    """What only tells debuggers of a branch."""
    return []


def spread(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """A call with a tuple of arguments and a mapping, for which a null may stand."""
    null = before[-2:]
    ops = [other.op for other in null]
    if ops != ["PUSH_NULL", "SWAP"] or null[0].offset != null[1].offset or one.offset in targets:
        return [replace(one, arg=1, value=1)]
    del before[-2:]
    return [replace(one, arg=0, value=0, offset=null[0].offset)]


def entered(
    before: list[Instruction], one: Instruction, targets: Container[int]
) -> list[Instruction]:
    """A manager is entered: its methods are looked up, the exit first. That stays on the stack, and
    below it there is a place for what it is bound to."""
    parts = before[-len(next(iter(_ENTERS))) :]
    op = None if one.arg else _ENTERS.get(tuple(part.op for part in parts))
    if (
        op is None
        or [part.arg for part in parts] != [1, 0, 2, 3, 0]
        or any(part.offset in targets for part in (*parts[1:], one))
        or any(part.handler != one.handler for part in parts)
    ):
        return [one]
    del before[-len(parts) :]
    return [replace(parts[0], op=op, arg=1, value=1)]


RULES: Mapping[str, Rule] = {
    one.__name__: one
    for one in (
        *(kept_test, truth, class_cell, keywords, function_attribute),
        *(class_cells, attributes, groups, small_int, nothing, spread, entered),
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
