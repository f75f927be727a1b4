"""Template strings (PEP 750)."""

from __future__ import annotations

import ast
from typing import Any, ClassVar

from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.expressions import CONVERSIONS, format_of
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase

_HAS_FORMAT, _CONVERSION = 1, 2
"""A bit of the argument, and by how much the conversion is shifted."""


class Templates(MachineBase):
    """Interpolations and the templates that they are in."""

    operations: ClassVar[dict[str, str]] = {}

    def op_build_interpolation(self, instruction: Instruction) -> None:
        """A value, the text of its expression, its conversion and its format."""
        spec = self.pop() if instruction.arg & _HAS_FORMAT else None
        text, value = self.pop(), self.pop()
        conversion = instruction.arg >> _CONVERSION
        if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
            raise Unstructured(f"{self.flow.code.co_name}: an interpolation without its text")
        if conversion >= len(CONVERSIONS):
            raise CorruptCode(f"{self.flow.code.co_name}: no conversion has number {conversion}")
        self.push(self.interpolation(value, text.value, CONVERSIONS[conversion], spec))

    def op_build_template(self, _: Instruction) -> None:
        """A template: its strings, and the interpolations between them."""
        parts, strings = self._items(self.pop()), self._items(self.pop())
        if len(strings) != len(parts) + 1:
            raise Unstructured(f"{self.flow.code.co_name}: {len(strings)} strings of a template")
        values = [strings[0]]
        for part, following in zip(parts, strings[1:], strict=True):
            values += [part, following]
        self.push(self.template([one for one in values if not _is_empty(one)]))

    def _items(self, value: ast.expr) -> list[ast.expr]:
        if isinstance(value, ast.Tuple):
            return value.elts
        if isinstance(value, ast.Constant) and isinstance(value.value, tuple):
            return [ast.Constant(one) for one in value.value]
        raise Unstructured(f"{self.flow.code.co_name}: the parts of a template are no tuple")

    def interpolation(
        self, value: ast.expr, text: str, conversion: int, spec: ast.expr | None
    ) -> ast.expr:
        """As it stands in a template."""
        spec = None if spec is None else format_of(spec)
        return _node("Interpolation", value=value, str=text, conversion=conversion, format_spec=spec)

    def template(self, values: list[ast.expr]) -> ast.expr:
        """Of strings and interpolations."""
        return _node("TemplateStr", values=values)


def _is_empty(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value == ""


def _node(kind: str, **fields: Any) -> ast.expr:
    """A node of the tree that older versions do not have."""
    found: ast.expr = vars(ast)[kind](**fields)
    return found
