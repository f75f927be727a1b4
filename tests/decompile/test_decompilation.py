"""Every construct: proved, and the same when it runs; the mistakes of others."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import CodeType, FunctionType

import pytest
from tests.decompile.programs import PROGRAMS
from tests.decompile.running import codes, looped, outcomes, swapped

from crossdock.decompile import (
    Decompilation,
    DecompileError,
    decompilation,
    decompile,
    recompile,
    source,
    verify,
)
from crossdock.decompile.bodies import Plan
from crossdock.decompile.errors import Unstructured

LOOPS = {"finally_returns"}
"""Programs of which a part is a dispatch loop."""


def code_of(text: str) -> CodeType:
    """The code object of the only function in a text."""
    module = compile(textwrap.dedent(text), "here", "exec")
    return next(one for one in module.co_consts if isinstance(one, CodeType))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_round_trip_is_proved_and_behaves(program: FunctionType) -> None:
    found = Decompilation(program.__code__)
    assert found.verdict.proved == (program.__name__ not in LOOPS), found.verdict.difference
    assert bool(found.reasons) == (program.__name__ in LOOPS)
    assert outcomes(swapped(program, found.source)) == outcomes(program)


GROUPS = "group"
"""What ``except*`` compiles to has no form but itself: no loop. So the programs' names begin."""


@pytest.mark.parametrize(
    "program",
    [one for one in PROGRAMS if not one.__name__.startswith(GROUPS)],
    ids=lambda one: one.__name__,
)
def test_dispatch_loop_behaves(program: FunctionType) -> None:
    source = looped(program.__code__)
    assert "while True" in source
    assert outcomes(swapped(program, source)) == outcomes(program)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_the_same_text_each_time(program: FunctionType) -> None:
    assert decompile(program.__code__) == decompile(program.__code__)


@pytest.mark.parametrize(
    "program",
    [one for one in PROGRAMS if one.__name__.startswith(GROUPS)],
    ids=lambda one: one.__name__,
)
def test_groups_have_no_loop(program: FunctionType) -> None:
    with pytest.raises(DecompileError, match="group"):
        looped(program.__code__)


def test_a_whole_module() -> None:
    text = Path(textwrap.__file__).read_text(encoding="utf-8")
    code = compile(text, textwrap.__file__, "exec", dont_inherit=True)
    found = Decompilation(code)
    assert found.verdict.proved
    names: dict[str, object] = {"__name__": "again"}
    exec(found.source, names)  # noqa: S102
    assert names["dedent"]("  a\n  b") == "a\nb"  # type: ignore[operator]


MISTAKES = {
    "a handler": (
        "def f(x):\n    try:\n        g(x)\n    except E:\n        h()",
        "def f(x):\n    g(x)",
    ),
    "a finally clause": (
        "def f(x):\n    try:\n        g(x)\n    finally:\n        h()",
        "def f(x):\n    g(x)\n    h()",
    ),
    "a conversion": ("def f(a):\n    return f'{a!r:>10}'", "def f(a):\n    return f'{a:>10}'"),
    "a deletion": ("def f(x):\n    del x", "def f(x):\n    pass"),
    "a chain": (
        "def f(a, b, c):\n    return a < b() < c",
        "def f(a, b, c):\n    return a < b() and b() < c",
    ),
    "defaults": (
        "def f():\n    def g(x=1):\n        return x\n    return g",
        "def f():\n    def g(x):\n        return x\n    return g",
    ),
    "deleted items": ("def f(a):\n    del a[-1]\n    return a", "def f(a):\n    return a"),
    "a branch": (
        "def f(x):\n    if x:\n        return 1\n    return 2",
        "def f(x):\n    return 1",
    ),
    "a polarity": (
        "def f(x):\n    if x:\n        return 1\n    return 2",
        "def f(x):\n    if not x:\n        return 1\n    return 2",
    ),
    "a type of constant": ("def f():\n    return 1", "def f():\n    return True"),
    "a sign of zero": ("def f():\n    return 0.0", "def f():\n    return -0.0"),
    "a docstring": ("def f():\n    'text'", "def f():\n    pass"),
    "a kind": ("def f():\n    yield 1", "def f():\n    return 1"),
    "the reach of a handler": (
        "def f():\n    try:\n        a()\n        b()\n    except E:\n        c()",
        "def f():\n    try:\n        a()\n    except E:\n        c()\n    b()",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_not_made_and_not_proved(what: str) -> None:
    right, wrong = MISTAKES[what]
    code = code_of(right)
    assert not verify(code, wrong).proved
    found = Decompilation(code)
    assert found.verdict.proved
    assert verify(code, found.source).proved


def test_a_closure_keeps_its_cells() -> None:
    def outer(x: int) -> FunctionType:
        y = x + 1

        def inner(z: int) -> int:
            nonlocal y
            y += z
            return x + y

        return inner  # type: ignore[return-value]

    function = outer(3)
    again = swapped(function, decompile(function.__code__))
    assert again.__code__.co_freevars == function.__code__.co_freevars
    assert (function(1), again(1)) == (8, 9)


def test_what_is_no_code_is_refused() -> None:
    with pytest.raises(DecompileError, match="__code__"):
        decompile(test_what_is_no_code_is_refused)  # type: ignore[arg-type]


def test_a_loop_says_so_in_its_source() -> None:
    program = next(one for one in PROGRAMS if one.__name__ == "finally_returns")
    assert decompile(program.__code__).startswith("# dispatch loop: ")
    assert not verify(program.__code__, decompile(program.__code__)).proved


def test_all_inner_code_keeps_its_names() -> None:
    program = next(one for one in PROGRAMS if one.__name__ == "classes")
    again = recompile(program.__code__, decompile(program.__code__))
    names = {one.co_qualname for one in codes(program.__code__)}
    assert {one.co_qualname for one in codes(again)} == names


def test_what_turns_out_to_be_no_source_becomes_a_dispatch_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def add(x: int) -> int:
        return x + 1

    def written(code: CodeType, plan: Plan) -> str:
        if not plan.loops:
            raise Unstructured("add: a mark is where the source has a value")
        return source.written(code, plan)

    monkeypatch.setattr(decompilation, "written", written)
    found = decompilation.Decompilation(add.__code__)
    assert found.reasons
    assert "dispatch loop" in found.source
