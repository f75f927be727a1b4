"""Arguments, annotations, and names with two underscores."""

from __future__ import annotations

import ast
from types import CodeType

from crossdock.decompile.errors import Unstructured
from crossdock.decompile.marks import Function, Part
from crossdock.decompile.versions import table as versions

_VARIABLE, _KEYWORDS = 4, 8
_FUTURE_ANNOTATIONS, _HAS_DOCSTRING = 0x1000000, 0x4000000


def arguments(code: CodeType) -> tuple[str, ...]:
    """The names of all arguments, as they lie in ``co_varnames``."""
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _VARIABLE) + bool(code.co_flags & _KEYWORDS)
    return code.co_varnames[:count]


def docstring(code: CodeType) -> str | None:
    """The first constant of a function, where that is its docstring."""
    marked = not versions.running().marks_docstrings or code.co_flags & _HAS_DOCSTRING
    first = code.co_consts[0] if code.co_consts and marked else None
    return first if type(first) is str else None  # a subclass may run code


def has_texts(code: CodeType) -> bool:
    """Whether annotations are strings only because the module asked for that."""
    return versions.running().defers_annotations and bool(code.co_flags & _FUTURE_ANNOTATIONS)


def starred(value: ast.expr) -> ast.expr:
    """An annotation; that of ``*args: *Ts`` is the only part of an unpacking."""
    if isinstance(value, Part) and value.unpacking.count == 1 and value.unpacking.star < 0:
        return ast.Starred(value.unpacking.value, ast.Load())
    return value


def parsed(text: ast.expr) -> ast.expr:
    """The annotation that such a string is of."""
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        raise Unstructured("an annotation that is no string")
    try:
        return ast.parse(text.value, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Unstructured(f"an annotation that is no expression: {text.value!a}") from error


def signature(made: Function) -> ast.arguments:
    """The arguments with annotations and defaults."""
    code = made.code
    names = list(arguments(code))

    def argument(name: str) -> ast.arg:
        return ast.arg(name, made.annotations.get(name))

    positional = [argument(name) for name in names[: code.co_argcount]]
    only, rest = code.co_posonlyargcount, names[code.co_argcount :]
    keyword = rest[: code.co_kwonlyargcount]
    rest = rest[code.co_kwonlyargcount :]
    variable = argument(rest.pop(0)) if code.co_flags & _VARIABLE else None
    keywords = argument(rest.pop(0)) if code.co_flags & _KEYWORDS else None
    return ast.arguments(
        posonlyargs=positional[:only],
        args=positional[only:],
        vararg=variable,
        kwonlyargs=[argument(name) for name in keyword],
        kw_defaults=[made.keyword_defaults.get(name) for name in keyword],
        kwarg=keywords,
        defaults=made.defaults,
    )


def bare(code: CodeType) -> Function:
    """A function whose defaults are not known; arguments have none."""
    return Function(code)


def mangled(name: str, class_name: str) -> str:
    """A private name as the compiler writes it in a class."""
    stripped = class_name.lstrip("_")
    if not stripped or not name.startswith("__") or name.endswith("__") or "." in name:
        return name
    return f"_{stripped}{name}"


def capturing(name: str) -> ast.expr:
    """A function that has a name from the function around it."""
    nothing = ast.arguments(
        posonlyargs=[], args=[], vararg=None, kwonlyargs=[], kw_defaults=[], kwarg=None, defaults=[]
    )
    return ast.Lambda(nothing, ast.Name(name, ast.Load()))


def annotation(statement: ast.stmt) -> ast.stmt | None:
    """``name: type`` for what the compiler makes of it: an item of ``__annotations__``."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    target = statement.targets[0]
    if (
        isinstance(target, ast.Subscript)
        and isinstance(target.value, ast.Name)
        and target.value.id == "__annotations__"
        and isinstance(target.slice, ast.Constant)
        and isinstance(target.slice.value, str)
        and target.slice.value.isidentifier()
    ):
        name = ast.Name(target.slice.value, ast.Store())
        return ast.AnnAssign(name, statement.value, None, 1)
    return None
