"""``verify``: is the source of a code object the same code again?"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from crossdock.decompile import signatures
from crossdock.decompile.calls import GENERIC
from crossdock.decompile.errors import DecompileError
from crossdock.decompile.flow import Flow
from crossdock.decompile.lockstep import Lockstep
from crossdock.decompile.qualified import qualified_name
from crossdock.decompile.source import OUTER, wrappers

FUTURE = 0x1FF0000
"""Flags that ``from __future__ import`` sets."""
_NESTED, _NOFREE = 16, 64
DEPTH_MAX = 60
_QUIET = threading.Lock()
"""Filters of warnings are of the whole process, and would be put back by another thread. A warning
of what code does, as ``return`` in ``finally``, was for the one who wrote it; taken for an error it
would be no code."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``proved`` if the source compiles to the same instructions modulo layout; else the first
    ``difference``."""

    proved: bool
    difference: str = ""

    def __bool__(self) -> bool:
        return self.proved


def compiled(code: CodeType, source: str) -> CodeType:
    """The code object in compiled `source` that stands for `code`; DecompileError if none does."""
    name = code.co_filename or "<decompiled>"
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            module = compile(source, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise DecompileError(f"the source of {code.co_name} does not compile: {error}") from error
    if code.co_name == "<module>":
        return module
    found = module
    path = [name for name, _ in wrappers(code)]
    if found_outer := _child(found, OUTER):
        found = found_outer
    for part in [*path, code.co_name]:
        child = _child(found, part)
        if child is None:
            raise DecompileError(f"the source has no {part} in {found.co_name} for {code.co_name}")
        found = child
    return found


def _child(code: CodeType, name: str) -> CodeType | None:
    """The code object of that name; it may be in the function that makes its type parameters."""
    found = {one.co_name: one for one in reversed([*inner_codes(code)])}
    around = found.get(f"{GENERIC}{name}>")
    return found.get(name) or (_child(around, name) if around is not None else None)


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """The code objects among the constants."""
    return (one for one in code.co_consts if isinstance(one, CodeType))


def verify(code: CodeType, source: str) -> Verdict:
    """Whether `source` compiles to what `code` is; DecompileError where it does not compile."""
    return Verifier().verdict(code, compiled(code, source))


class Verifier:
    """Compares code objects, with those among their constants.

    ``differing`` are then the code objects whose own instructions are not the same.
    """

    def __init__(self) -> None:
        self.differing: list[CodeType] = []
        self._difference = ""
        self._depth = 0

    def verdict(self, code: CodeType, other: CodeType) -> Verdict:
        """Of the whole."""
        self._compare(code, other)
        return Verdict(not self.differing, self._difference)

    def _compare(self, code: CodeType, other: CodeType) -> bool:
        """True, so that what surrounds a difference is compared to its end."""
        if self._depth > DEPTH_MAX:
            return self._differs(code, "code objects nest too deeply")
        for name, mine, yours in _facts(code, other):
            if mine != yours:
                return self._differs(code, f"{name} is {mine!r}, but {yours!r}")
        self._depth += 1
        lockstep = Lockstep(left=Flow(code), right=Flow(other), same_code=self._compare)
        alike = lockstep.compare(0, 0)
        self._depth -= 1
        if not alike:
            return self._differs(code, lockstep.difference)
        return True

    def _differs(self, code: CodeType, what: str) -> bool:
        if not self._difference:
            self._difference = f"{qualified_name(code)}: {what}"
        self.differing.append(code)
        return True


def _facts(code: CodeType, other: CodeType) -> Iterator[tuple[str, object, object]]:
    yield "co_name", code.co_name, other.co_name
    for name in ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount"):
        yield name, getattr(code, name), getattr(other, name)
    ignored = ~(FUTURE | _NESTED | _NOFREE)
    yield "co_flags", code.co_flags & ignored, other.co_flags & ignored
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4)
    count += bool(code.co_flags & 8)
    yield "arguments", code.co_varnames[:count], other.co_varnames[:count]
    for name in ("co_varnames", "co_cellvars", "co_freevars"):
        yield name, sorted(getattr(code, name)), sorted(getattr(other, name))
    yield "docstring", _docstring(code), _docstring(other)


def _docstring(code: CodeType) -> str | None:
    return signatures.docstring(code) if code.co_flags & 1 else None
