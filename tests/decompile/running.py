"""Runs a function beside its round trip."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from crossdock.decompile import recompile
from crossdock.decompile.bodies import Plan
from crossdock.decompile.source import written

ARGUMENTS = range(-1, 7)


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and all within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def looped(code: CodeType) -> str:
    """Source in which every function is a dispatch loop."""
    return written(code, Plan(loops=frozenset(id(one) for one in codes(code))))


def swapped(function: FunctionType, source: str) -> FunctionType:
    """The function with the code of `source`."""
    code = recompile(function.__code__, source)
    made = FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)
    made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return made


def outcomes(function: Callable[..., Any]) -> list[tuple[str, str]]:
    """What it returns or raises, and what it logs, for each argument."""
    found = []
    for argument in ARGUMENTS:
        log: list[object] = []
        try:
            result = repr(function(log, argument))
        except Exception as error:  # noqa: BLE001  (whatever it is, it must be the same)
            context = type(error.__context__).__name__
            result = f"{error!r} after {context}, because of {error.__cause__!r}"
        found.append((_plain(result), _plain(repr(log))))
    return found


def _plain(text: str) -> str:
    """Without addresses, which differ from run to run."""
    return re.sub(r"0x[0-9a-f]+", "", text)
