"""The form of a version's table, and the table of the running Python."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from crossdock.decompile.errors import UnsupportedVersion

KNOWN = ((3, 10), (3, 11), (3, 12), (3, 13), (3, 14))

Pieces = tuple[tuple[str, int], ...]
"""Names and arguments of the instructions that one stands for."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """How one version's instructions are read.

    ``same_as`` maps an opcode's name to the name that the rest of the package knows it by;
    ``pieces`` gives the instructions that one with this argument stands for;
    ``dropped`` are instructions without an effect that source could express; ``backward`` are
    relative jumps whose argument counts backwards; ``binary`` and ``compare`` are the operators by
    the instruction's argument. ``caches`` says how many cache entries follow each opcode, by its
    number; ``adaptive_caches`` says it of the specialised opcodes too.

    ``joins`` are the rules of ``lowering`` by the instruction that each begins to work at.
    ``loop_end`` is the length in bytes of what stands where ``FOR_ITER`` leads, and is not executed
    but says that the iterator is dropped. ``guards_generators``: a handler around the whole of a
    generator turns StopIteration into RuntimeError. ``shortens_super``: an attribute of ``super()``
    is loaded without that object, unless the module mentions super. ``defers_annotations``: a
    function computes them, unless the module asks for strings with ``from __future__``.
    ``marks_docstrings``: a flag says whether the first constant of a function is its docstring.

    ``absolute`` are jumps whose argument counts from the start. ``has_blocks``: instructions enter
    and leave what has a handler, and there is no table of handlers; see ``blocks``.
    ``cells_apart``: instructions on cells count from the first cell, else from the first local.
    """

    same_as: Mapping[str, str]
    dropped: frozenset[str]
    backward: frozenset[str]
    binary: tuple[str, ...]
    compare: tuple[str, ...]
    caches: tuple[int, ...]
    adaptive_caches: tuple[int, ...]
    names: tuple[str, ...]
    jumps: frozenset[str]
    pieces: Mapping[str, Callable[[int], Pieces]] = field(default_factory=dict)
    joins: Mapping[str, str] = field(default_factory=dict)
    loop_end: int = 0
    guards_generators: bool = False
    shortens_super: bool = False
    defers_annotations: bool = False
    marks_docstrings: bool = False
    absolute: frozenset[str] = frozenset()
    has_blocks: bool = False
    cells_apart: bool = False


def running() -> Table:
    """The table of the running Python; UnsupportedVersion where there is none."""
    version = sys.version_info[:2]
    if version not in KNOWN:
        known = ", ".join(f"{major}.{minor}" for major, minor in KNOWN)
        raise UnsupportedVersion(
            f"bytecode of Python {version[0]}.{version[1]} is not known; run one of {known}"
        )
    module: ModuleType = importlib.import_module(
        f"crossdock.decompile.versions.python{version[0]}{version[1]}"
    )
    table: Table = module.TABLE
    return table
