"""What becomes of functions that are decompiled; needs nothing but the decompiler.

So it also runs in interpreters that have no other package.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from crossdock.decompile import Decompilation, DecompileError, verify

PROVED, LOOP, REFUSED, CRASHED = "proved", "loop", "refused", "crashed"
OUTCOMES = (PROVED, LOOP, REFUSED, CRASHED)
NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests"})
"""Folders in the library's that others fill, or that only test it."""

CO_OPTIMIZED = 1


def sources(library: Path) -> list[Path]:
    """The files of a library, without those that are not its own."""
    found = (path for path in library.rglob("*.py"))
    return sorted(
        path for path in found if not NOT_LIBRARY & set(path.relative_to(library).parts[:-1])
    )


def functions_of(path: Path) -> Iterator[CodeType]:
    """The functions and methods of a file that are in no other function; none of broken files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return
    todo = [module]
    while todo:
        for code in todo.pop().co_consts:
            if isinstance(code, CodeType):
                if code.co_flags & CO_OPTIMIZED:
                    yield code
                else:
                    todo.append(code)


def measure(code: CodeType) -> tuple[str, str, float, bool]:
    """The outcome, its cause, seconds, and whether a proof holds when it is made again."""
    start = time.process_time()
    right, cause = True, ""
    found = None
    try:
        found = Decompilation(code)
    except DecompileError as error:
        outcome, cause = REFUSED, str(error)
    except Exception as error:  # noqa: BLE001  (that there are none is what is measured)
        outcome, cause, right = CRASHED, f"{type(error).__name__}: {error}", False
    else:
        outcome = LOOP if found.reasons else PROVED
        cause = "; ".join(found.reasons)
    spent = time.process_time() - start
    if found is not None and outcome == PROVED:
        right = verify(code, found.source).proved
    return outcome, generalised(cause), spent, right


def generalised(cause: str) -> str:
    """A cause without what is of one function only."""
    last = cause.partition("; ")[0].rpartition(": ")[2]
    return re.sub(r"\d+|'[^']*'", "_", last)
