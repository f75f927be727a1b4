"""Each line of a decompiled file knows the user's line that it comes from."""

from __future__ import annotations

import dis
from types import CodeType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.programs import PROGRAMS

from crossdock.decompile import Decompilation, DecompileError, decompile
from crossdock.decompile.dynamo.source_map import source_map


def spread(x: list[int], n: int) -> Any:
    """Statements over several lines, and code in it."""
    for i in range(n):
        if i > 2:
            x += [y
                  for y in x
                  if y > i]  # fmt: skip

    def inner(a: int) -> int:
        return a + 1

    return inner(
        len(x)
    )  # fmt: skip


FIRST = spread.__code__.co_firstlineno


def test_lines_of_statements_and_of_code_within() -> None:
    text = "# a comment\n# and one more\n" + decompile(spread.__code__)
    rows = text.splitlines()
    found = [
        (rows[one.line - 1].strip(), one.original - FIRST, one.function)
        for one in source_map(spread.__code__, text)
    ]
    assert ("for i in range(n):", 2, "spread") in found
    assert ("x += [y for y in x if y > i]", 4, "spread") in found
    assert ("x += [y for y in x if y > i]", 6, "<listcomp>") in found
    assert ("return a + 1", 9, "inner") in found
    assert ("return inner(len(x))", 11, "spread") in found
    assert ("return inner(len(x))", 12, "spread") in found
    assert not [one for one in found if one[1] == 0]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_offsets_are_of_instructions_of_that_line(program: Any) -> None:
    made = Decompilation(program.__code__)
    if made.reasons:
        with pytest.raises(DecompileError, match="no map of lines"):
            source_map(program.__code__, made.source)
        return
    lines = set(lines_of(program.__code__))
    mapped = source_map(program.__code__, made.source)
    assert {(one.function, one.offset, one.original) for one in mapped} <= lines
    assert {one.original for one in mapped} >= {
        line for name, _, line in lines if name == program.__name__
    } - {program.__code__.co_firstlineno, *lines_of_nothing(program.__code__)}


def lines_of(code: CodeType) -> Any:
    """Name, offset and line of all instructions, also of code within."""
    for one in dis.get_instructions(code):
        if one.positions is not None and one.positions.lineno is not None:
            yield code.co_name, one.offset, one.positions.lineno
        if isinstance(one.argval, CodeType):
            yield from lines_of(one.argval)


def lines_of_nothing(code: CodeType) -> set[int]:
    """Lines that only have instructions that do nothing, which no source need have."""
    does: dict[int, bool] = {}
    for one in dis.get_instructions(code):
        line = one.positions.lineno if one.positions is not None else None
        if line is not None:
            idle = one.opname in {"NOP", "RESUME", "EXTENDED_ARG"} or one.opname.startswith("JUMP")
            does[line] = does.get(line, False) or not idle
    return {line for line, has in does.items() if not has}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_lines_apart_are_told_apart(gaps: list[int]) -> None:
    """One statement a line, with so many empty lines before it."""
    text, wanted = "def f(x):\n", []
    for number, gap in enumerate(gaps):
        text += "\n" * gap + f"    x({number})\n"
        wanted.append(text.count("\n"))
    code = next(one for one in compile(text, "f", "exec").co_consts if isinstance(one, CodeType))
    found = source_map(code, decompile(code))
    assert [(one.line, one.original) for one in found] == list(enumerate(wanted, 2))


def test_other_source_has_no_map() -> None:
    with pytest.raises(DecompileError, match="spread has no map of lines: "):
        source_map(spread.__code__, "def spread(x, n):\n    return x\n")
