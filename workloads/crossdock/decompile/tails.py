"""Ends of functions that the compiler copied into each branch of an expression.

``raise E(a if b else c)`` becomes ``if b: raise E(a)``, ``raise E(c)`` but for where E is loaded: the
instructions after the value are short, and are repeated after each.
"""

from __future__ import annotations

from collections import defaultdict
from types import CodeType

from crossdock.decompile.flow import NULL, VALUE, Flow, Shape
from crossdock.decompile.regions import Regions

_ENDS = frozenset({"RETURN_VALUE", "RAISE_VARARGS"})
_TAIL_MAX = 8


def joined(flow: Flow, regions: Regions) -> dict[int, int]:
    """The first of equal tails for the start of each; they start where a value meets others that
    wait on the stack, in all of them the same."""
    by_key: defaultdict[object, list[int]] = defaultdict(list)
    ends: list[list[tuple[int, object]]] = []
    for index, one in enumerate(flow.instructions):
        if one.op in _ENDS and flow.shapes[index] is not None:
            ends.append(_starts(flow, regions, index))
            for start, key in ends[-1]:
                by_key[key].append(start)
    found: dict[int, int] = {}
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
        if shape is None or one.target >= 0 or regions.at(index) != regions.at(end):
            break
        if one.op == "NOP":
            continue
        code = (*code, one.op, comparable(one.value), one.arg)
        if _waits(shape[:-1]):
            found.insert(0, (index, (code, shape[:-1], regions.at(end))))
    return found


def _waits(shape: Shape) -> bool:
    return any(kind in {VALUE, NULL} for kind, _ in shape)


def comparable(value: object) -> object:
    """What is equal for constants only if they are interchangeable."""
    return id(value) if isinstance(value, CodeType) else (type(value), repr(value))
