"""Functions to decompile: of the source files in a folder, and of stored code objects.

Like ``decompile_outcome``, for interpreters that have no other package too.
"""

from __future__ import annotations

import marshal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests"})
"""Folders in a library's that others fill, or that only test it."""
STORED = ".code"
"""How the name of a file ends that holds a marshalled code object."""

CO_OPTIMIZED = 1


def files(folder: Path) -> list[Path]:
    """The files of a folder that hold functions, to its depth, without those that are not its."""
    found = (path for path in folder.rglob("*") if path.suffix in {".py", STORED})
    return sorted(
        path for path in found if not NOT_LIBRARY & set(path.relative_to(folder).parts[:-1])
    )


def functions_of(path: Path) -> Iterator[CodeType]:
    """The functions and methods of a file that are in no other function; none of broken files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if path.suffix == STORED:
                yield marshal.loads(path.read_bytes())
                return
            module = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError, EOFError):
            return
    todo = [module]
    while todo:
        for code in todo.pop().co_consts:
            if isinstance(code, CodeType):
                if code.co_flags & CO_OPTIMIZED:
                    yield code
                else:
                    todo.append(code)
