"""Qualified names of code objects. Before Python 3.11 only the code around one has its name.

Then the name is that which stands before the names of functions inside: for code without any it
matters to nothing.
"""

from __future__ import annotations

from types import CodeType

_LOCALS = "<locals>"
_CO_OPTIMIZED = 1


def qualified_name(code: CodeType) -> str:
    """The qualified name; that of the code alone, where nothing tells more."""
    known: str | None = getattr(code, "co_qualname", None)
    return _told(code) if known is None else known


def named_like(code: CodeType) -> dict[str, str]:
    """What ``replace`` needs so that another code object has the same names."""
    names = {"co_name": code.co_name}
    if hasattr(code, "co_qualname"):
        names["co_qualname"] = code.co_qualname
    return names


def _told(code: CodeType) -> str:
    is_function = bool(code.co_flags & _CO_OPTIMIZED)
    inner = {one.co_name for one in code.co_consts if isinstance(one, CodeType)}
    for constant in code.co_consts:
        if type(constant) is not str:
            continue
        if not is_function and constant.rpartition(".")[2] == code.co_name:
            return constant  # what a class begins with
        around, _, last = constant.rpartition(f".{_LOCALS}.")
        if last in inner and around.rpartition(".")[2] == code.co_name:
            return around
    return code.co_name
