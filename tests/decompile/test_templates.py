"""Template strings by calls. The literals are tested in newer versions."""

from __future__ import annotations

import ast
import builtins
import sys
from types import ModuleType
from typing import Any, cast

import pytest

from crossdock.decompile.templates import CalledTemplates


class Parts(CalledTemplates):
    """With names for builtins, and nothing else of a machine."""

    def __init__(self) -> None:
        self.builtin = lambda name: ast.Name(name, ast.Load())

    def assignment(self, targets: list[ast.expr], value: ast.expr) -> ast.stmt:
        """As it is."""
        return ast.Assign(targets, value)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the module of newer versions: both classes give their arguments."""
    found: Any = ModuleType("string.templatelib")
    found.Template = found.Interpolation = lambda *given: given
    monkeypatch.setitem(sys.modules, "string.templatelib", found)
    return cast("ModuleType", found)


def value(made: ast.expr) -> object:
    """What an expression gives; ``strings`` and ``parts`` are variables."""
    names = {"strings": ("a", "b", ""), "parts": (1, 2), **vars(builtins)}
    return eval(ast.unparse(ast.fix_missing_locations(made)), names)  # noqa: S307


def test_strings_and_parts_take_turns(library: ModuleType) -> None:
    made = Parts().template(ast.Name("strings", ast.Load()), ast.Name("parts", ast.Load()))
    assert value(made) == ("a", 1, "b", 2, "")
    one, nothing = ast.Tuple([ast.Constant("a")], ast.Load()), ast.Tuple([], ast.Load())
    assert value(Parts().template(one, nothing)) == ("a",)


def test_an_interpolation_keeps_its_text(library: ModuleType) -> None:
    one, text = ast.Constant(1), ast.Constant("x + 1")
    assert value(Parts().interpolation(one, text, ord("r"), None)) == (1, "x + 1", "r", "")
    assert value(Parts().interpolation(one, text, -1, ast.Constant(">8"))) == (
        1,
        "x + 1",
        None,
        ">8",
    )
