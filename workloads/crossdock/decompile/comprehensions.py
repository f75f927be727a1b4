"""Comprehensions, which are functions of one iterator."""

from __future__ import annotations

import ast

from crossdock.decompile.conditions import negated
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.marks import Added, Iteration

_NOTHING: dict[str, ast.expr] = {
    "<genexpr>": ast.Yield(ast.Constant(None)),
    "<listcomp>": Added("list", ast.Constant(None)),
    "<setcomp>": Added("set", ast.Constant(None)),
    "<dictcomp>": Added("dict", ast.Constant(None), ast.Constant(None)),
}


def comprehension(name: str, body: list[ast.stmt], iterated: Iteration, awaits: bool) -> ast.expr:
    """The expression, from the statements of the function of that name. ``awaits``: the value of
    the function is awaited, not that of the expression."""
    loop = next((one for one in body if isinstance(one, ast.For | ast.AsyncFor)), None)
    if loop is None:
        raise Unstructured(f"{name}: a comprehension without a loop")
    generators: list[ast.comprehension] = []
    element = _generators(name, loop, generators)
    generators[0].iter = iterated.value
    if name == "<genexpr>":
        if isinstance(element, ast.Yield) and element.value is not None:
            return ast.GeneratorExp(element.value, generators)
    elif isinstance(element, Added):
        found = element.comprehension(generators)
        found.awaits = awaits  # type: ignore[attr-defined]
        return found
    raise Unstructured(f"{name}: a comprehension that adds nothing")


def _generators(
    name: str, loop: ast.For | ast.AsyncFor, found: list[ast.comprehension]
) -> ast.expr:
    """The innermost expression; appends a generator for each loop."""
    while True:
        if loop.orelse:
            raise Unstructured(f"{name}: a comprehension with an else clause")
        generator = ast.comprehension(loop.target, loop.iter, [], isinstance(loop, ast.AsyncFor))
        found.append(generator)
        body = loop.body
        while (rest := _condition(body, generator)) is not None:
            body = rest
        only = body[0] if len(body) == 1 else None
        if isinstance(only, ast.Expr):
            return only.value
        if not body or isinstance(only, ast.Pass):  # under a condition that never holds
            generator.ifs.append(ast.Constant(False))
            return _NOTHING[name]
        if not isinstance(only, ast.For | ast.AsyncFor):
            raise Unstructured(f"{name}: a comprehension with statements")
        loop = only


def _condition(body: list[ast.stmt], generator: ast.comprehension) -> list[ast.stmt] | None:
    """What is under a condition; adds that to the generator. None where there is no condition."""
    first = body[0] if body else None
    if not isinstance(first, ast.If) or first.orelse:
        return None
    if len(body) == 1:
        generator.ifs.append(first.test)
        return first.body
    if len(body) == 2 and len(first.body) == 1 and isinstance(first.body[0], ast.Continue):
        generator.ifs.append(negated(first.test))
        return body[1:]
    return None
