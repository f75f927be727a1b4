"""Patterns out of their instructions: random ones, and what looks like one but is none."""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.programs_matches import Colour, Point
from tests.decompile.test_decompilation import code_of

from crossdock.decompile import Decompilation, recompile

VALUES = ("0", "1", "-2", "'a'", "None", "True", "Colour.RED")
SUBJECTS: tuple[Any, ...] = (
    *(0, 1, -2, "a", None, True, Colour.RED, [], [1], [1, 0], [[1], "a"], (0, 1, 2)),
    *({}, {"k": 1}, {"k": [1], "j": 0}),
    *(Point(1, 0), Point([1, "a"], {"k": 0})),  # type: ignore[no-untyped-call]
)


def named(names: list[str]) -> str:
    """A name that was not used yet."""
    names.append(f"n{len(names)}")
    return names[-1]


@st.composite
def patterns(draw: st.DrawFn, depth: int, names: list[str]) -> str:
    """A pattern; appends the names that it binds."""
    inner = ["list", "star", "map", "class", "or", "as"] if depth else []
    kind = draw(st.sampled_from(["value", "name", "any", *inner]))
    if kind == "value":
        return draw(st.sampled_from(VALUES))
    if kind in {"any", "name"}:
        return "_" if kind == "any" else named(names)
    if kind == "or":
        values = draw(st.lists(st.sampled_from(VALUES), min_size=2, max_size=4))
        return "(" + " | ".join([*values, "[_, 1]"]) + ")"
    parts = [draw(patterns(depth - 1, names)) for _ in range(draw(st.integers(1, 3)))]
    return draw(compounds(kind, parts, names))


@st.composite
def compounds(draw: st.DrawFn, kind: str, parts: list[str], names: list[str]) -> str:
    """A pattern of others."""
    if kind == "map":
        keys = [f"{key}: {part}" for key, part in zip(("'k'", "'j'", "1"), parts, strict=False)]
        rest = draw(st.sampled_from(["", f", **{named(names)}"]))
        return "{" + ", ".join(keys) + rest + "}"
    if kind == "class":
        x, y = parts[0], parts[-1] if len(parts) > 1 else "_"
        return draw(st.sampled_from([f"Point({x}, {y})", f"Point({x}, y={y})", f"Point(x={y})"]))
    if kind == "as":
        return parts[0] if parts[0].isidentifier() else f"({parts[0]} as {named(names)})"
    if kind == "star":
        star = draw(st.sampled_from(["*_", f"*{named(names)}"]))
        parts.insert(draw(st.integers(0, len(parts))), star)
    return "[" + ", ".join(parts) + "]"


@st.composite
def statements(draw: st.DrawFn) -> str:
    """A function with a ``match`` statement."""
    lines = ["def f(subject, log):", "    match subject:"]
    count = draw(st.integers(1, 4))
    for at in range(count):
        names: list[str] = []
        pattern = draw(patterns(2, names))
        if pattern == "_" and at < count - 1:  # several with guards may become dispatch loops
            pattern = "0"
        used = sorted(set(re.findall(r"n\d+", pattern)))
        guard = draw(st.sampled_from(["", " if log", " if not log or subject", " if subject == 1"]))
        if pattern.isidentifier() and not guard:
            guard = " if not log"
        end = draw(st.sampled_from(["", "; return 'end'"]))
        lines.append(f"        case {pattern}{guard}:")
        lines.append(f"            log.append(({at}, {', '.join(used)})){end}")
    return "\n".join([*lines, "    log.append('after')", "    return log"])


@given(statements())
@settings(max_examples=120, deadline=None)
def test_random_patterns(text: str) -> None:
    code = code_of(text)
    found = Decompilation(code)
    assert found.verdict.proved, found.verdict.difference
    names = {"Point": Point, "Colour": Colour}
    one = FunctionType(code, names)
    two = FunctionType(recompile(code, found.source), names)
    for subject in SUBJECTS:
        for log in ([], ["before"]):
            mine, yours = list(log), list(log)
            assert one(subject, mine) == two(subject, yours)
            assert mine == yours


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    if (y := x) == 1:\n        return y",
        "def f(x):\n    if (y := x) is None:\n        return y",
        "def f(x):\n    a = b = x\n    return a, b",
        "def f(x):\n    return [(y := x), x or y, 1 if y else 2]",
        "def f(x):\n    g((y := x), a if y else b)\n    return y",
        "def f(x):\n    try:\n        g()\n    except* OSError:\n        x()\n    return 1",
    ],
)
def test_what_only_looks_like_a_pattern(text: str) -> None:
    found = Decompilation(code_of(text))
    assert found.verdict.proved
    assert "match" not in found.source


@pytest.mark.parametrize(
    "case",
    [
        *("[a, *_, b]", "[*_, 1, _]", "[_, _]", "[*_]", "[]", "{}", "{**k}", "{1: _, **k}"),
        *("Point(x=1)", "(1 | [2]) as a", "[(1 as a) | (2 as a), 3]", "-1j", "Colour.RED"),
        *("a if a", "_ as a if a", "_ if x", "1 if False", "{Colour.RED: [a, {'k': b}]}"),
    ],
)
def test_a_pattern_is_written_again(case: str) -> None:
    text = f"def f(x):\n    match x:\n        case {case}:\n            g()\n        case 'last':\n"
    found = Decompilation(code_of(text + "            h()\n"))
    assert found.verdict.proved
    assert found.source.count("case ") == 2


def test_a_pattern_of_nothing_is_kept() -> None:
    found = Decompilation(code_of("def f():\n    match ...:\n        case _:\n            g()"))
    assert found.verdict.proved
