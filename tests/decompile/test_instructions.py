"""Corrupt and hostile code objects: typed errors in bounded time, and nothing is executed."""

from __future__ import annotations

import contextlib
import opcode
from types import CodeType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.programs import PROGRAMS
from tests.decompile.test_decompilation import code_of

from crossdock.decompile import CorruptCode, DecompileError, decompile, instructions

SEEDS = [one.__code__ for one in PROGRAMS if len(one.__code__.co_code) < 1500]


def refused_or_right(code: CodeType) -> None:
    """Decompile; only DecompileError may come out."""
    with contextlib.suppress(DecompileError):
        compile(decompile(code), "again", "exec")


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes(code: CodeType, data: st.DataObject) -> None:
    raw = bytearray(code.co_code)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    refused_or_right(code.replace(co_code=bytes(raw)))


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=60, deadline=None)
def test_truncated_bytes(code: CodeType, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(code.co_code) // 2)) * 2
    refused_or_right(code.replace(co_code=code.co_code[:end]))


@given(st.sampled_from(SEEDS), st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_exception_tables_of_random_bytes(code: CodeType, table: bytes) -> None:
    refused_or_right(code.replace(co_exceptiontable=table))


@given(st.binary(min_size=0, max_size=60).map(lambda raw: raw[: len(raw) // 2 * 2]))
@settings(max_examples=150, deadline=None)
def test_random_bytes(raw: bytes) -> None:
    code = SEEDS[0].replace(co_code=raw)
    refused_or_right(code)


def raw_code(*pairs: tuple[str, int]) -> CodeType:
    """A function of these instructions."""
    raw = bytes(part for name, arg in pairs for part in (opcode.opmap[name], arg))
    return code_of("def f(): pass").replace(co_code=raw)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (raw_code(("LOAD_CONST", 9), ("RETURN_VALUE", 0)), "no entry 9"),
        (raw_code(("POP_TOP", 0), ("RETURN_VALUE", 0)), "stack"),
        (raw_code(("LOAD_CONST", 0)), "runs off"),
        (raw_code(("JUMP_FORWARD", 9)), "no instruction begins"),
        (raw_code(("EXTENDED_ARG", 9)), "EXTENDED_ARG"),
        (raw_code(("LOAD_CONST", 0), ("JUMP_BACKWARD", 2)), "values on the stack"),
        (raw_code(("SWAP", 0), ("RETURN_VALUE", 0)), "moves no value"),
        (
            raw_code(*[("LOAD_CONST", 0)] * 2, ("BUILD_SLICE", 1), ("RETURN_VALUE", 0)),
            "slice of 1 parts",
        ),
        (raw_code(), "no bytecode"),
    ],
)
def test_what_is_wrong_is_said(code: CodeType, message: str) -> None:
    with pytest.raises(CorruptCode, match=message):
        decompile(code)


def test_an_empty_loop_ends() -> None:
    code = code_of("def f():\n    while True:\n        pass")
    assert "while True" in decompile(code)


def test_deep_nesting_is_refused_or_done() -> None:
    deep = "def f(x):\n    return " + "(" * 80 + "x" + " + 1)" * 80
    refused_or_right(code_of(deep))
    many = "def f(x):\n" + "".join(
        f"    if x == {at}:\n        return g({at})\n" for at in range(400)
    )
    assert "g(399)" in decompile(code_of(many))


def test_a_chain_of_branches_without_end() -> None:
    chain = "def f(x):\n    if x == 0:\n        y = 0\n"
    chain += "".join(f"    elif x == {at}:\n        y = {at}\n" for at in range(1, 300))
    refused_or_right(code_of(chain + "    return y\n"))


def test_methods_of_constants_are_not_run() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise SystemExit

        __hash__ = None  # type: ignore[assignment]
        __eq__ = __bool__ = __repr__  # type: ignore[assignment]

    code = code_of("def f(): return 1").replace(co_consts=(None, Hostile()))
    with pytest.raises(DecompileError, match="constant of type Hostile"):
        decompile(code)
    nested = code.replace(co_consts=(None, (1, (Hostile(),))))
    with pytest.raises(DecompileError, match="constant of type Hostile"):
        decompile(nested)


def test_large_code_is_refused() -> None:
    raw = b"\x09\x00" * (instructions.INSTRUCTIONS_MAX + 1)
    with pytest.raises(CorruptCode, match="no large one"):
        decompile(code_of("def f(): pass").replace(co_code=raw))


def test_a_handler_that_ends_again_and_again() -> None:
    again = (("RESUME", 0), ("LOAD_CONST", 0), ("POP_EXCEPT", 0), ("JUMP_BACKWARD", 3))
    with pytest.raises(CorruptCode, match="the end of no handler"):
        decompile(raw_code(*again))
