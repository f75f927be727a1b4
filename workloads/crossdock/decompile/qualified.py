"""Qualified names of code objects. Before Python 3.11 only the code around one has its name.

Then the name is that which stands before the names of functions inside: for code without any it
matters to nothing.
"""

from __future__ import annotations

from types import CodeType

_LOCALS = ".<locals>"
_CO_OPTIMIZED = 1


def qualified_name(code: CodeType) -> str:
    """The qualified name; that of the code alone, where nothing tells more."""
    known: str | None = getattr(code, "co_qualname", None)
    return _told(code) if known is None else known


def named_like(found: CodeType, code: CodeType) -> CodeType:
    """`found` with the names of `code`."""
    found = found.replace(co_name=code.co_name)
    if hasattr(code, "co_qualname"):
        found = found.replace(co_qualname=code.co_qualname)
    return found


def _told(code: CodeType) -> str:
    if not code.co_flags & _CO_OPTIMIZED:
        return _of_class(code) or code.co_name
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    names = {one.co_name for one in inner}
    texts = [one for one in code.co_consts if type(one) is str]
    for text in [*texts, *map(_of_class, inner)]:
        around, _, last = text.rpartition(".")
        around = around.removesuffix(_LOCALS)
        if last in names and around.rpartition(".")[2] == code.co_name:
            return around
    return code.co_name


def _of_class(code: CodeType) -> str:
    """What a class begins with; of a function nothing."""
    first = code.co_consts[0] if code.co_consts else None
    named = type(first) is str and first.rpartition(".")[2] == code.co_name
    return str(first) if named and not code.co_flags & _CO_OPTIMIZED else ""
