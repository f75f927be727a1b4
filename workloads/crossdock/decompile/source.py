"""From a code object to text."""

from __future__ import annotations

import ast
from types import CodeType

from crossdock.decompile import annotating, late, marks, signatures, type_parameters
from crossdock.decompile.bodies import Body, Plan, only_value
from crossdock.decompile.calls import COMPREHENSIONS, GENERIC
from crossdock.decompile.comprehensions import comprehension
from crossdock.decompile.errors import DecompileError, Unstructured
from crossdock.decompile.marks import Iteration
from crossdock.decompile.qualified import qualified_name

OUTER = "_enclosing"
"""The function that binds the names that the code has from functions around it."""

ROOT = "_decompiled"
_OF_CLASS = frozenset({"__class__", "__classdict__", late.MET})
"""Variables that a class has of itself."""


def written(code: CodeType, plan: Plan) -> str:
    """Source of `code`; Unstructured where there is none.

    Executing the source defines a function, a class or whatever the code is of. Functions and
    classes that the code's qualified name lists stand around it, so that private names and
    ``__class__`` mean the same.
    """
    try:
        tree = ast.Module(_placed(code, plan), [])
        _expect_plain(tree, code)
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    except RecursionError as error:
        raise DecompileError(f"{code.co_name}: statements nest too deeply") from error
    except DecompileError:
        raise
    except ValueError as error:  # of unparse: an f-string that needs a backslash, a huge number
        raise Unstructured(f"{code.co_name}: {error}") from error


def _placed(code: CodeType, plan: Plan) -> list[ast.stmt]:
    if code.co_name == "<module>":
        return [*_future(code), *Body(code, frozenset(), plan).module()]
    path = wrappers(code)
    classes = [name for name, is_class in path if is_class]
    inner_class = classes[-1] if classes else ""
    visible = frozenset(code.co_freevars)
    if any(not is_class for _, is_class in path) or code.co_freevars:
        visible |= _bound_around(path, code)
    body = Body(code, visible, plan, inner_class if is_function(code) else code.co_name)
    statements = _late(body) if late.is_late(code) else [_statement(body)]
    placed = _wrapped(statements, path, code.co_freevars)
    imported = sorted(body.names.imported)
    if imported:  # changes how calls compile, though it is never executed
        aliases = [ast.alias(name) for name in imported]
        placed.insert(0, ast.If(ast.Constant(False), [ast.Import(aliases)], []))
    return [*_future(code), *placed]


def _future(code: CodeType) -> list[ast.stmt]:
    """What makes strings of annotations, where they are computed otherwise."""
    if not signatures.has_texts(code) or code.co_name == "<module>":
        return []  # a module has it among its imports
    return [ast.ImportFrom("__future__", [ast.alias("annotations")], 0)]


def wrappers(code: CodeType) -> list[tuple[str, bool]]:
    """Functions and classes around the code, the outermost first; whether each is a class."""
    parts = qualified_name(code).split(".")[:-1]
    found: list[tuple[str, bool]] = []
    for at, part in enumerate(parts):
        if part == "<locals>":
            continue
        is_class = at + 1 == len(parts) or parts[at + 1] != "<locals>"
        if not part.isidentifier():
            return []
        found.append((part, is_class))
    return found


def _bound_around(path: list[tuple[str, bool]], code: CodeType) -> frozenset[str]:
    """Names that wrapping functions bind, and that the code may mean as globals."""
    names = set()
    for at, (_, is_class) in enumerate(path):
        if not is_class:
            names.add(path[at + 1][0] if at + 1 < len(path) else code.co_name)
    if code.co_freevars and path:
        names.add(path[0][0])
    elif code.co_freevars:
        names.add(code.co_name)
    return frozenset(names)


def _statement(body: Body) -> ast.stmt:
    code = body.code
    name = code.co_name
    if name in COMPREHENSIONS:
        loop = Iteration(ast.Tuple([], ast.Load()))
        return _assigned(comprehension(name, body.statements(), loop, False), body)
    if name == "<lambda>":
        value = only_value(body.statements(), code)
        return _assigned(ast.Lambda(signatures.signature(signatures.bare(code)), value), body)
    if name.startswith(GENERIC):
        return _generic(body)
    if not name.isidentifier():
        raise Unstructured(f"{name}: not the name of anything that source can define")
    if not is_function(code):
        found = ast.ClassDef(name, [], [], body.class_body(), [])
        return type_parameters.of_class(found, code)
    return body.definition(signatures.bare(code))


def _late(body: Body) -> list[ast.stmt]:
    """What has this function compute annotations, or a type."""
    name, found = body.code.co_name, body.statements()
    if name != late.NAME:
        made = marks.TypeAlias(name, [], only_value(found, body.code))
        return [type_parameters.alias(made)]
    if not isinstance(found[-1], ast.Return) or not isinstance(found[-1].value, ast.Dict):
        return list(annotating.alone(annotating.of_body(found)))
    texts = annotating.of_function(found, body.code)
    returned = texts.pop("return", None)
    arguments = [ast.arg(argument, text) for argument, text in texts.items()]
    nothing: list[ast.expr | None] = [None for _ in arguments]
    given = ast.arguments([], [], None, arguments, nothing, None, [])
    return [ast.FunctionDef(ROOT, given, [ast.Pass()], [], returned)]


def _generic(body: Body) -> ast.stmt:
    """What has type parameters; which of its arguments have defaults the code does not say."""
    names = [
        name
        for code in body.code.co_consts
        if isinstance(code, CodeType)
        for name in signatures.arguments(code)[code.co_argcount :][: code.co_kwonlyargcount]
    ]
    nothing = ast.Constant(None)
    some = ast.Tuple([nothing], ast.Load())
    by_name = ast.Dict([ast.Constant(name) for name in names], [nothing for _ in names])
    given = signatures.arguments(body.code)
    return body.generic_statement([by_name if name == ".kwdefaults" else some for name in given])


def is_function(code: CodeType) -> bool:
    """Whether code is of a function, not of a class."""
    return bool(code.co_flags & 1)


def _assigned(value: ast.expr, body: Body) -> ast.stmt:
    found: ast.stmt = ast.Assign([ast.Name(ROOT, ast.Store())], value)
    if body.names.declared_global:
        names = sorted(body.names.declared_global)
        found = ast.If(ast.Constant(True), [ast.Global(names), found], [])
    return found


def _wrapped(
    body: list[ast.stmt], path: list[tuple[str, bool]], free: tuple[str, ...]
) -> list[ast.stmt]:
    unbound = [name for name in free if name not in _OF_CLASS or not path or not path[-1][1]]
    if type_parameters.PARAMETERS in free:
        unbound = []  # the class has parameters of these names
    nothing = signatures.capturing("None").args  # type: ignore[attr-defined]
    for at in reversed(range(len(path))):
        name, is_class = path[at]
        if is_class:
            body = [ast.ClassDef(name, [], [], body, [])]
        else:
            innermost = not any(not other for _, other in path[at + 1 :])
            bindings = [_binding(one) for one in unbound] if innermost else []
            body = [ast.FunctionDef(name, nothing, [*bindings, *body], [])]
            if innermost:
                unbound = []
    outermost = body[0]
    if unbound and type_parameters.KNOWN and isinstance(outermost, ast.ClassDef):
        body = [type_parameters.given(outermost, unbound)]  # no function is around a class
    elif unbound:
        bindings = [_binding(one) for one in unbound]
        body = [ast.FunctionDef(OUTER, nothing, [*bindings, *body], [])]
    return body


def _binding(name: str) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))


def _expect_plain(tree: ast.AST, code: CodeType) -> None:
    """Unstructured if anything is left that is not of the source."""
    for node in ast.walk(tree):
        if type(node).__module__ == marks.__name__:
            kind = type(node).__name__
            raise Unstructured(f"{code.co_name}: {kind} is where the source has a value")
