"""Rewritten bytecode does what it did, and has the form of source."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.dynamo import programs
from torch._dynamo import bytecode_transformation as bytecode
from torch._dynamo.bytecode_transformation import create_instruction as one

from crossdock.decompile import decompile, verify
from crossdock.decompile.dynamo.spill import spilled


def made(instructions: list[Any], arguments: str = "a, b, f") -> types.FunctionType:
    """A function of these instructions."""
    names: dict[str, Any] = {}
    exec(f"def made({arguments}): pass", names)  # noqa: S102 - a frame for the instructions
    function: types.FunctionType = names["made"]

    def replace(body: list[Any], _: dict[str, Any]) -> None:
        body[1:] = instructions

    code, _ = bytecode.transform_code_object(function.__code__, replace, safe=True)
    return types.FunctionType(code, {"__builtins__": __builtins__}, "made")


def calls(*names: str) -> list[Any]:
    """``f(...)`` of variables, whose value stays on the stack."""
    loads = [one("LOAD_FAST", argval=name) for name in names]
    call = [one("PRECALL", arg=len(names)), one("CALL", arg=len(names))]
    return [one("PUSH_NULL"), one("LOAD_FAST", argval="f"), *loads, *call]


def same_effects(function: types.FunctionType) -> types.CodeType:
    """Run both on a function that notes its calls; gives the rewritten code."""
    code = spilled(function.__code__)
    assert code is not None
    seen: list[list[Any]] = []
    for run in (function, types.FunctionType(code, function.__globals__)):
        log: list[Any] = []

        def note(*values: Any, log: list[Any] = log) -> list[Any]:
            log.append([list(one) if isinstance(one, list) else one for one in values])
            return [len(log)]

        seen.append([run([1, 2], [3], note), log])
    assert seen[0] == seen[1]
    verdict = verify(code, decompile(code))
    assert verdict.proved, verdict.difference
    return code


def test_a_statement_amid_a_call() -> None:
    function = made(
        [
            *calls("a"),
            *calls("b"),
            one("POP_TOP"),
            *calls("a", "b"),
            one("BUILD_LIST", arg=2),
            one("RETURN_VALUE"),
        ]
    )
    assert "stack_0" in same_effects(function).co_varnames


def test_copies_and_swaps() -> None:
    function = made(
        [
            *calls("a"),
            one("COPY", arg=1),
            *calls("b"),
            one("SWAP", arg=3),
            one("SWAP", arg=2),
            one("BUILD_TUPLE", arg=3),
            one("RETURN_VALUE"),
        ]
    )
    same_effects(function)


def test_a_method_whose_name_comes_after_many_others() -> None:
    names = [[one("LOAD_CONST", argval=0), one("STORE_GLOBAL", argval=f"n{i}")] for i in range(6)]
    function = made(
        [
            *[instruction for pair in names for instruction in pair],
            *calls("a"),
            one("LOAD_FAST", argval="a"),
            one("LOAD_METHOD", argval="copy"),
            one("PRECALL", arg=0),
            one("CALL", arg=0),
            one("POP_TOP"),
            one("LOAD_CONST", argval=5),
            one("BUILD_LIST", arg=2),
            one("RETURN_VALUE"),
        ]
    )
    assert "stack_0" in same_effects(function).co_varnames


def test_what_does_nothing_moves_nothing() -> None:
    function = made(
        [
            *calls("a"),
            one("NOP"),
            *calls("b"),
            one("POP_TOP"),
            one("NOP"),
            one("BUILD_LIST", arg=1),
            one("RETURN_VALUE"),
        ]
    )
    assert "stack_0" in same_effects(function).co_varnames


def test_a_sequence_taken_apart_above_what_waits() -> None:
    """It is longer than the stack is high."""
    function = made(
        [
            one("LOAD_CONST", argval=(1, 2, 3)),
            one("UNPACK_SEQUENCE", arg=3),
            *calls("b"),
            one("POP_TOP"),
            one("BUILD_LIST", arg=3),
            one("RETURN_VALUE"),
        ]
    )
    assert "stack_2" in same_effects(function).co_varnames


def test_lists_that_grow_on_the_stack() -> None:
    function = made(
        [
            *calls("a"),
            *calls("b"),
            one("SWAP", arg=2),
            one("LOAD_FAST", argval="b"),
            one("LIST_EXTEND", arg=2),
            one("BUILD_LIST", arg=2),
            one("RETURN_VALUE"),
        ]
    )
    same_effects(function)


def test_what_lies_on_the_stack_on_both_sides_of_a_branch() -> None:
    last = one("LOAD_CONST", argval=7)
    function = made(
        [
            *calls("a"),
            *calls("b"),
            one("POP_TOP"),
            one("LOAD_FAST", argval="a"),
            one("POP_JUMP_FORWARD_IF_FALSE", target=last),
            *calls("b"),
            one("BUILD_LIST", arg=2),
            one("RETURN_VALUE"),
            last,
            one("BUILD_LIST", arg=2),
            one("RETURN_VALUE"),
        ]
    )
    same_effects(function)


def test_displays_of_constants_are_written_as_the_compiler_does() -> None:
    constants = [one("LOAD_CONST", argval=value) for value in (1, "b", None)]
    more = [one("LOAD_CONST", argval=value) for value in ("k", "l")]
    values = [one("LOAD_FAST", argval=name) for name in "ab"]
    function = made(
        [
            *calls("a"),
            *calls("b"),
            one("POP_TOP"),
            *constants,
            one("BUILD_LIST", arg=3),
            one("BUILD_TUPLE", arg=0),
            *[more[0], values[0], more[1], values[1]],
            one("BUILD_MAP", arg=2),
            one("BUILD_LIST", arg=4),
            one("RETURN_VALUE"),
        ]
    )
    same_effects(function)


def test_variables_are_let_go_when_the_stack_would() -> None:
    """``a`` is looked at by a finalizer: it must not live until the function ends."""
    function = made(
        [
            *calls("a"),
            one("COPY", arg=1),
            one("POP_TOP"),
            one("POP_TOP"),
            *calls("b"),
            one("RETURN_VALUE"),
        ]
    )
    code = spilled(function.__code__)
    assert code is not None
    gone: list[str] = []

    class Value:
        def __del__(self) -> None:
            gone.append("gone")

    def f(x: Any) -> Any:
        return Value() if x == "first" else list(gone)

    assert types.FunctionType(code, {})("first", "second", f) == ["gone"]
    assert function("first", "second", f) == ["gone", "gone"]


PUSHES: dict[str, Any] = {
    "call a": lambda: calls("a"),
    "call b": lambda: calls("b"),
    "constant": lambda: [one("LOAD_CONST", argval=0)],
    "variable": lambda: [one("LOAD_FAST", argval="a")],
}
CHANGES: dict[str, Any] = {
    "build": (2, -1, lambda: [one("BUILD_LIST", arg=2)]),
    "pop": (1, -1, lambda: [one("POP_TOP")]),
    "store": (1, -1, lambda: [one("STORE_FAST", argval="b")]),
    "item": (1, 0, lambda: [one("BUILD_LIST", arg=1), *item()]),
}
"""What an instruction needs on the stack, by how much it changes its height, and what it is."""


def item() -> list[Any]:
    """The first of a list."""
    return [one("LOAD_CONST", argval=0), one("BINARY_SUBSCR")]


steps = st.lists(
    st.one_of(
        st.sampled_from([*PUSHES, *CHANGES]),
        st.tuples(st.sampled_from(["COPY", "SWAP"]), st.integers(1, 5)),
    ),
    max_size=25,
)


def body_of(work: list[Any]) -> list[Any]:
    """The instructions of those steps that the stack is high enough for."""
    height = 0
    body: list[Any] = []
    for step in work:
        if isinstance(step, tuple):
            if step[1] <= height and (step[0] == "COPY" or step[1] > 1):
                body.append(one(step[0], arg=step[1]))
                height += step[0] == "COPY"
        elif step in PUSHES:
            body += PUSHES[step]()
            height += 1
        elif height >= CHANGES[step][0]:
            body += CHANGES[step][2]()
            height += CHANGES[step][1]
    return [*body, one("BUILD_LIST", arg=height), one("RETURN_VALUE")]


@settings(max_examples=60, deadline=None)
@given(steps)
def test_random_work_on_the_stack(work: list[Any]) -> None:
    function = made(body_of(work))
    code = spilled(function.__code__) or function.__code__
    results = []
    for run in (function, types.FunctionType(code, {})):
        log: list[Any] = []

        def note(value: Any, log: list[Any] = log) -> str:
            log.append(repr(value))
            return f"call {len(log)}"

        results.append((repr(run(["a"], "b", note)), log))
    assert results[0] == results[1]


@pytest.mark.parametrize("around", list(programs.AROUND))
def test_code_of_people_does_the_same(around: str) -> None:
    for kind in programs.BREAKS:
        program: Any = programs.program(around, kind)
        code = spilled(program.__code__)
        if code is not None:
            expected = programs.behaviour(program)
            program.__code__ = code
            torch.manual_seed(0)
            assert programs.behaviour(program) == expected
