"""A code object as a file: proved or said not to be, and linked with its cells."""

from __future__ import annotations

import linecache
import types
from pathlib import Path
from typing import Any

import pytest

from crossdock.decompile import DecompileError
from crossdock.decompile.dynamo import translation
from crossdock.decompile.dynamo.translation import linked, translate


def outer(scale: int) -> Any:
    """A function with a cell, defaults, and a function in it."""

    def inner(x: int, times: int = 2, *, by: int = 1) -> list[int]:
        parts = [x * scale for _ in range(times)]
        return [part + by for part in parts]

    return inner


def test_a_linked_function_has_its_cells_and_lines(tmp_path: Path) -> None:
    function = outer(5)
    code = function.__code__
    made = translate(code)
    assert (made.standing, made.code) == ("proved", code)
    path = tmp_path / "inner.py"
    path.write_text(made.text("A title."))
    replacement = linked(made.code, made.text("A title."), path)
    assert replacement.co_freevars == code.co_freevars
    assert {replacement.co_filename, *(c.co_filename for c in codes(replacement))} == {str(path)}
    again = types.FunctionType(
        replacement, function.__globals__, "inner", function.__defaults__, function.__closure__
    )
    again.__kwdefaults__ = function.__kwdefaults__
    assert again(3) == function(3) == [16, 16]
    lines = [line for _, _, line in replacement.co_lines() if line]
    assert "times" in linecache.getline(str(path), max(lines)) or "parts" in path.read_text()
    assert path.read_text().splitlines()[:2][0] == "# A title."


def codes(code: types.CodeType) -> list[types.CodeType]:
    return [one for one in code.co_consts if isinstance(one, types.CodeType)]


def test_what_is_refused_is_disassembled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> str:
        raise DecompileError("no such form.")

    monkeypatch.setattr(translation, "decompile", refuse)
    made = translate(outer.__code__)
    assert (made.standing, made.note) == ("refused", "no such form")
    text = made.text("A title.")
    assert "Not decompiled" in text
    assert "RETURN_VALUE" in text
    assert all(line.startswith("#") for line in text.splitlines() if line)


def test_what_is_not_proved_says_so_at_its_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation, "decompile", lambda _: "def outer(scale):\n    return 3\n")
    made = translate(outer.__code__)
    assert made.standing == "unproved"
    assert made.note
    assert made.text("A title.").splitlines()[1].startswith("# NOT PROVED equivalent")
    assert "return 3" in made.source
