"""Constants that no source spells: out of the code, and back where they were."""

from __future__ import annotations

from pathlib import Path
from types import CodeType, FunctionType

from crossdock.decompile.dynamo.constants import put_back, taken_out
from crossdock.decompile.dynamo.translation import linked, translate


def with_constants(*constants: object) -> CodeType:
    """The code of a function that returns them; each must be of one type."""
    names = ", ".join(f"'place {at}'" for at in range(len(constants)))
    module = compile(f"def f(x):\n    return [x, {names}]", "here", "exec")
    code = next(one for one in module.co_consts if isinstance(one, CodeType))
    places = {f"place {at}": value for at, value in enumerate(constants)}
    return put_back(code, places)


GLOBALS = {"scale": 3}


def inner() -> int:
    return 1


def test_what_source_spells_stays() -> None:
    code = with_constants(1, (2, "three"), None)
    assert taken_out(code) == (code, {})


def test_dictionaries_and_code_as_values_go_out_and_come_back() -> None:
    code = with_constants(GLOBALS, inner.__code__, GLOBALS)
    spelled, held = taken_out(code)
    assert list(held.values()) == [GLOBALS, inner.__code__]
    assert set(held) <= set(spelled.co_consts)
    result = FunctionType(put_back(spelled, held), {})(0)
    assert result[1] is GLOBALS
    assert result[2] is inner.__code__


def test_the_code_of_functions_that_are_made_stays() -> None:
    module = compile("def f():\n    return lambda: 'a'", "here", "exec")
    code = next(one for one in module.co_consts if isinstance(one, CodeType))
    assert taken_out(code) == (code, {})


def test_no_text_of_the_code_itself_is_taken() -> None:
    code = with_constants("<constant 0: dict>", GLOBALS)
    spelled, held = taken_out(code)
    assert list(held) == ["<<constant 0: dict>>"]
    assert FunctionType(put_back(spelled, held), {})(0)[1] == "<constant 0: dict>"


def test_a_file_says_what_stands_for_what_and_runs_with_it(tmp_path: Path) -> None:
    code = with_constants(GLOBALS, inner.__code__)
    made = translate(code)
    assert made.standing == "proved"
    text = made.text("A title.")
    assert "# In the place of the text '<constant 0: dict>', a dict runs." in text
    path = tmp_path / "f.py"
    path.write_text(text)
    run = linked(made.code, text, path, made.constants)
    assert FunctionType(run, {})(5) == [5, GLOBALS, inner.__code__]
