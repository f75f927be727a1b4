"""Qualified names, as far as code objects of older versions tell them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from types import CodeType

import pytest
from tests.decompile.running import codes

from crossdock.decompile import qualified

TEXT = """
class C:
    "text"
    def method(self):
        "C.other.<locals>.inner"
        def inner():
            return [lambda: i for i in range(3)]
        class Local:
            x = "y.Local"
            def f(self):
                return {}
        return inner, Local
    class In:
        def g(self):
            def outside():
                pass
def only():
    return "C.only"
"""


class Older:
    """A code object as Python 3.10 has it: names of functions are constants around them."""

    def __init__(self, code: CodeType) -> None:
        self.co_name, self.co_flags = code.co_name, code.co_flags
        self.co_consts: tuple[object, ...] = tuple(_constants(code))


def _constants(code: CodeType) -> Iterator[object]:
    for one in code.co_consts:
        yield one
        if isinstance(one, CodeType):
            yield one.co_qualname if one.co_flags & 1 else one.co_name


FOUND = [
    one
    for one in codes(compile(textwrap.dedent(TEXT), "here", "exec"))
    if any(isinstance(constant, CodeType) for constant in one.co_consts)
    if one.co_name != "<module>"
]


@pytest.mark.parametrize("code", FOUND, ids=lambda one: one.co_qualname)
def test_what_is_inside_tells_the_name(code: CodeType) -> None:
    assert qualified._told(Older(code)) == code.co_qualname  # type: ignore[arg-type]
    assert qualified.qualified_name(code) == code.co_qualname


def test_code_with_nothing_inside_has_its_own_name() -> None:
    only = next(one for one in codes(compile(TEXT, "here", "exec")) if one.co_name == "only")
    assert qualified._told(only) == "only"
    assert len(FOUND) >= 5
