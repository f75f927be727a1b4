"""A standard library whose functions went there and back, where the interpreter finds it.

Python looks for a module's bytecode in a cache before it compiles the source (PEP 3147, PEP 552),
and under ``PYTHONPYCACHEPREFIX`` if that is set. What is written there is imported in place of the
source, however often and in whatever process, and nothing else is changed: names, files, modules
made afresh by tests.
"""

from __future__ import annotations

import importlib.util
import marshal
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Self

from tests.decompile.running import codes

from crossdock.decompile import Decompilation, DecompileError, recompile

LIBRARY = Path(sysconfig.get_paths()["stdlib"])

CO_OPTIMIZED = 1
_NEVER_STALE = (0b01).to_bytes(4, "little")
"""Flags of PEP 552: the hash of the source is there, and is not looked at."""


@dataclass(kw_only=True)
class Swapped:
    """Functions that were replaced; of them, those that are dispatch loops; those that were not."""

    functions: int = 0
    loops: int = 0
    kept: int = 0

    def __iadd__(self, other: Swapped) -> Self:
        self.functions += other.functions
        self.loops += other.loops
        self.kept += other.kept
        return self


def files(module: str) -> list[Path]:
    """The source of a module, or of all modules of a package; without tests in it."""
    path = LIBRARY.joinpath(*module.split("."))
    if not path.is_dir():
        return [path.with_suffix(".py")]
    found = sorted(path.rglob("*.py"))
    return [one for one in found if not {"test", "tests"} & set(one.relative_to(path).parts)]


def swap(path: Path, prefix: Path) -> Swapped:
    """Put the bytecode of a source file, there and back, into the cache under `prefix`."""
    text = path.read_bytes()
    code = compile(text, str(path), "exec", dont_inherit=True)
    counts = Swapped()
    target = (
        prefix / path.parent.relative_to("/") / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    head = importlib.util.MAGIC_NUMBER + _NEVER_STALE + importlib.util.source_hash(text)
    target.unlink(missing_ok=True)
    target.write_bytes(head + marshal.dumps(_again(code, counts)))
    return counts


def _again(code: CodeType, counts: Swapped) -> CodeType:
    """The whole if it has a form; else each function in it, or as much as has one."""
    try:
        found = Decompilation(code)
        again = recompile(code, found.source)
    except DecompileError:
        counts.kept += bool(code.co_flags & CO_OPTIMIZED)
        inner = [
            _again(one, counts) if isinstance(one, CodeType) else one for one in code.co_consts
        ]
        return code.replace(co_consts=tuple(inner))
    counts.functions += sum(bool(one.co_flags & CO_OPTIMIZED) for one in codes(code))
    counts.loops += len(found.reasons)
    return again
