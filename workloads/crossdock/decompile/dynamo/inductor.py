"""The modules that Inductor has generated and loaded, linked to copies in the dump.

Torch keeps a list of them, so nothing needs to be replaced: after a compilation the new ones are
looked up, and the code of their functions is made to name the copy. The modules themselves stay
as they are, since caches know them by their files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any


def loaded() -> list[ModuleType]:
    """The modules that Inductor has loaded so far; none before its first use."""
    cache = getattr(sys.modules.get("torch._inductor.codecache"), "PyCodeCache", None)
    modules = getattr(cache, "modules", [])
    return [module for module in list(modules) if getattr(module, "__file__", None)]


def relocate(module: ModuleType, source: Path) -> int:
    """Let the module's functions name ``source``, a copy of its file; gives how many do."""
    own = str(module.__file__)
    functions = list(_functions(vars(module), own))
    for function in functions:
        function.__code__ = _moved(function.__code__, own, str(source))
    _copy_lines(own, str(source))
    return len(functions)


def _functions(names: dict[str, Any], file: str) -> Iterator[FunctionType]:
    for value in list(names.values()):
        inner = getattr(value, "__func__", value)
        if isinstance(inner, FunctionType) and inner.__code__.co_filename == file:
            yield inner
        elif isinstance(value, type) and value.__module__ == names.get("__name__"):
            yield from _functions(dict(vars(value)), file)


def _moved(code: CodeType, own: str, target: str) -> CodeType:
    constants = tuple(
        _moved(constant, own, target) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    )
    name = target if code.co_filename == own else code.co_filename
    return code.replace(co_filename=name, co_consts=constants)


def _copy_lines(own: str, target: str) -> None:
    """Torch looks nodes of the graph up by file and line, as for profiles of memory."""
    cache = getattr(sys.modules.get("torch._inductor.codecache"), "PyCodeCache", None)
    lines = getattr(cache, "linemaps", None)
    if isinstance(lines, dict) and own in lines:
        lines[target] = lines[own]
