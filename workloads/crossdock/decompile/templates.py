"""Template strings (PEP 750)."""

from __future__ import annotations

import ast
from collections.abc import Callable
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
        if conversion >= len(CONVERSIONS):
            raise CorruptCode(f"{self.flow.code.co_name}: no conversion has number {conversion}")
        self.push(self.interpolation(value, text, CONVERSIONS[conversion], spec))

    def op_build_template(self, _: Instruction) -> None:
        """A template: its strings, and the interpolations between them."""
        parts, strings = self.pop(), self.pop()
        self.push(self.template(strings, parts))

    def _items(self, value: ast.expr) -> list[ast.expr]:
        if isinstance(value, ast.Tuple):
            return value.elts
        if isinstance(value, ast.Constant) and isinstance(value.value, tuple):
            return [ast.Constant(one) for one in value.value]
        raise Unstructured(f"{self.flow.code.co_name}: the parts of a template are no tuple")

    def interpolation(
        self, value: ast.expr, text: ast.expr, conversion: int, spec: ast.expr | None
    ) -> ast.expr:
        """As it stands in a template."""
        if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
            raise Unstructured(f"{self.flow.code.co_name}: an interpolation without its text")
        return _node(
            "Interpolation",
            value=value,
            str=text.value,
            conversion=conversion,
            format_spec=None if spec is None else format_of(spec),
        )

    def template(self, strings: ast.expr, parts: ast.expr) -> ast.expr:
        """The literal, of a tuple of strings and one of interpolations."""
        around, between = self._items(strings), self._items(parts)
        if len(around) != len(between) + 1:
            raise Unstructured(f"{self.flow.code.co_name}: {len(around)} strings of a template")
        values = [around[0]]
        for part, following in zip(between, around[1:], strict=True):
            values += [part, following]
        return _node("TemplateStr", values=[one for one in values if not _is_empty(one)])


class CalledTemplates(Templates):
    """The same by calls: what is interpolated is in variables by then, and the text is not theirs.

    ``builtin`` gives an expression for a builtin.
    """

    builtin: Callable[[str], ast.expr]

    def interpolation(
        self, value: ast.expr, text: ast.expr, conversion: int, spec: ast.expr | None
    ) -> ast.expr:
        """An object."""
        letter = ast.Constant(None if conversion < 0 else chr(conversion))
        return self._call("Interpolation", [value, text, letter, spec or ast.Constant("")])

    def template(self, strings: ast.expr, parts: ast.expr) -> ast.expr:
        """The object: ``Template(*sum(zip(parts, strings[1:]), strings[:1]))``."""
        first = ast.Subscript(strings, ast.Slice(None, ast.Constant(1), None), ast.Load())
        others = ast.Subscript(strings, ast.Slice(ast.Constant(1), None, None), ast.Load())
        pairs = ast.Call(self.builtin("zip"), [parts, others], [])
        row = ast.Call(self.builtin("sum"), [pairs, first], [])
        return self._call("Template", [ast.Starred(row, ast.Load())])

    def _call(self, name: str, arguments: list[ast.expr]) -> ast.expr:
        path, listed = (
            ast.Constant("string.templatelib"),
            ast.Tuple([ast.Constant(name)], ast.Load()),
        )
        named = [ast.keyword("fromlist", listed)]
        module = ast.Call(self.builtin("__import__"), [path], named)
        return ast.Call(ast.Attribute(module, name, ast.Load()), arguments, [])


def _is_empty(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value == ""


def _node(kind: str, **fields: Any) -> ast.expr:
    """A node of the tree that older versions do not have."""
    found: ast.expr = vars(ast)[kind](**fields)
    return found
