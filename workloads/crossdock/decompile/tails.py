"""Ends of functions that the compiler copied into each branch of an expression.

``raise E(a if b else c)`` becomes ``if b: raise E(a)``, ``raise E(c)``, but E is loaded before b:
what follows the value is short, and is repeated after each.
"""

from __future__ import annotations

from collections import defaultdict
from types import CodeType

from crossdock.decompile.flow import KEEPS, NULL, VALUE, Flow, Shape
from crossdock.decompile.lockstep import HARMLESS
from crossdock.decompile.regions import Regions

_ENDS = frozenset({"RETURN_VALUE", "RAISE_VARARGS"})
_TAIL_MAX = 8


def joined(flow: Flow, regions: Regions) -> dict[int, int]:
    """The first of equal tails for the start of each; they start where a value meets others that
    wait on the stack, in all of them the same."""
    by_key: defaultdict[object, list[int]] = defaultdict(list)
    ends: list[list[tuple[int, object]]] = []
    found: dict[int, int] = {}
    for index, one in enumerate(flow.instructions):
        if flow.shapes[index] is None:
            continue
        if one.op in _ENDS:
            ends.append(_starts(flow, regions, index))
            for start, key in ends[-1]:
                by_key[key].append(start)
        elif one.op in KEEPS:
            found.update(_chain(flow, index))
    for starts in ends:
        for start, key in starts:
            if len(by_key[key]) > 1:
                found[start] = by_key[key][0]
                break
    return found


def _starts(flow: Flow, regions: Regions, end: int) -> list[tuple[int, object]]:
    """Where the tail of an end may start, the earliest first; what equal ones have in common."""
    found: list[tuple[int, object]] = []
    code: tuple[object, ...] = ()
    for index in range(end, max(end - _TAIL_MAX, -1), -1):
        one, shape = flow.instructions[index], flow.shapes[index]
        if shape is None or one.target >= 0:
            break
        if one.op == "NOP":
            continue
        region = None if one.op in HARMLESS else regions.at(index)
        code = (*code, one.op, comparable(one.value), one.arg, region)
        if _waits(shape[:-1]):
            found.insert(0, (index, (code, shape[:-1])))
    return found


def _chain(flow: Flow, test: int) -> list[tuple[int, int]]:
    """The ``return`` of a chain of comparisons that did not fail, and that of one that did."""
    found = flow.instructions
    drop = flow.skip(found[test].target)
    failed = flow.skip(min(drop + 2, len(found) - 1))
    ops = [one.op for one in (*found[drop : drop + 2], found[failed])]
    if ops != ["SWAP", "POP_TOP", "RETURN_VALUE"]:
        return []
    for index in range(test + 1, len(found)):
        if found[index].op == "RETURN_VALUE":
            return [(index, failed)]
        if found[index].target >= 0 or found[index].op in _ENDS:
            break
    return []


def _waits(shape: Shape) -> bool:
    return any(kind in {VALUE, NULL} for kind, _ in shape)


def comparable(value: object) -> object:
    """What is equal for constants only if they are interchangeable."""
    return id(value) if isinstance(value, CodeType) else (type(value), repr(value))
