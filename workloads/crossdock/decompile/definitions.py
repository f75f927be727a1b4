"""Functions and classes: statements that the compiler writes as assignments."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import ClassVar

from crossdock.decompile import late, marks, type_parameters
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase
from crossdock.decompile.marks import Function, TypeAlias

LAMBDA = "<lambda>"


class Definitions(MachineBase):
    """``define`` makes a ``def``, ``express`` a lambda, ``classify`` a class statement."""

    operations: ClassVar[dict[str, str]] = {}
    define: Callable[[Function, str], ast.stmt]
    express: Callable[[Function], ast.expr]
    classify: Callable[[Function, ast.Call, str], ast.stmt]

    def definition(self, targets: list[ast.expr], value: ast.expr) -> ast.stmt | None:
        """The statement, if what is assigned is a function or a class, decorated or not."""
        if isinstance(value, TypeAlias):
            return type_parameters.alias(value)
        if self._annotates(targets, value):
            return ast.Assign(targets, value)  # to be taken apart with the body
        decorators = []
        inner = value
        while isinstance(inner, ast.Call) and _is_decoration(inner):
            decorators.append(inner.func)
            inner = inner.args[0]
        made: ast.stmt
        if isinstance(inner, Function):
            made = self.define(inner, self._name(targets))
        elif isinstance(inner, ast.Call) and isinstance(inner.func, marks.BuildClass):
            made = self._class(inner, targets)
        else:
            return None
        made.decorator_list = decorators  # type: ignore[attr-defined]
        return made

    def _annotates(self, targets: list[ast.expr], value: ast.expr) -> bool:
        """Whether a class or module is given the function that computes its annotations."""
        return (
            isinstance(value, Function)
            and value.code.co_name == late.NAME
            and self._name(targets) in late.STORED
            and late.is_late(value.code)
        )

    def _class(self, call: ast.Call, targets: list[ast.expr]) -> ast.stmt:
        body = call.args[0] if call.args else None
        if not isinstance(body, Function) or len(call.args) < 2:
            raise Unstructured(f"{self.flow.code.co_name}: a class without a body")
        return self.classify(body, call, self._name(targets))

    def _name(self, targets: list[ast.expr]) -> str:
        target = targets[0]
        if len(targets) > 1 or not isinstance(target, ast.Name):
            raise Unstructured(f"{self.flow.code.co_name}: a definition is not bound to a name")
        return target.id

    def op_make_function(self, instruction: Instruction) -> None:
        """A function; if it has no name, an expression."""
        super().op_make_function(instruction)  # type: ignore[misc]
        made = self.stack[-1]
        if isinstance(made, Function) and made.code.co_name == LAMBDA:
            self.stack.pop()
            self.push(self.express(made))


def _is_decoration(value: ast.Call) -> bool:
    """Whether a call has one argument, which is a definition."""
    if len(value.args) != 1 or value.keywords:
        return False
    inner: ast.expr = value.args[0]
    while isinstance(inner, ast.Call):
        if isinstance(inner.func, marks.BuildClass):
            return True
        if len(inner.args) != 1 or inner.keywords:
            return False
        inner = inner.args[0]
    return isinstance(inner, Function)
