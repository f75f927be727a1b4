"""Blocks become handlers."""

from __future__ import annotations

import re

import pytest

from crossdock.decompile import blocks
from crossdock.decompile.errors import CorruptCode
from crossdock.decompile.instructions import Instruction


def unblocked(text: str) -> list[Instruction]:
    """What instructions become that are written one a line: ``8 SETUP_FINALLY 20``, the byte, the
    name, and where it leads or what it loads or its argument."""
    found = []
    for line in text.strip().splitlines():
        offset, op, *rest = line.split()
        arg = int(rest[0]) if rest and rest[0].isdigit() else 0
        jumps = op.startswith(("SETUP", "JUMP", "POP_JUMP", "FOR_ITER"))
        value: object = rest[0] if rest and not rest[0].isdigit() else None
        target = arg if jumps else -1
        found.append(Instruction(op, arg, value, target, int(offset), None))
    return blocks.unblocked("f", found)


def told(text: str) -> list[str]:
    """The same as text: byte, name, and the byte, depth and lasti of the handler."""
    found = []
    for one in unblocked(text):
        entry = one.handler
        handler = "" if entry is None else f" {entry.target}/{entry.depth}" + "i" * entry.lasti
        found.append(f"{one.offset} {one.op}{handler}")
    return found


TRY = """
0 SETUP_FINALLY 10
2 LOAD_FAST x
4 POP_TOP
6 POP_BLOCK
8 JUMP 26
10 DUP_TOP
12 LOAD_GLOBAL E
14 JUMP_IF_NOT_EXC_MATCH 24
16 POP_TOP
18 POP_TOP
20 POP_TOP
22 POP_EXCEPT
23 JUMP 26
24 RERAISE 0
26 LOAD_CONST
28 RETURN_VALUE
"""


def test_a_handler_of_try() -> None:
    cleanup = 30 + 3 * 10
    assert told(TRY) == [
        "0 NOP",
        "2 LOAD_FAST 9/0",
        "4 POP_TOP 9/0",
        "8 JUMP",
        f"9 PUSH_EXC_INFO {cleanup}/1i",
        f"12 LOAD_GLOBAL {cleanup}/1i",
        f"14 CHECK_EXC_MATCH {cleanup}/1i",
        f"14 POP_JUMP_IF_FALSE {cleanup}/1i",
        f"18 POP_TOP {cleanup}/1i",
        "22 POP_EXCEPT",
        "23 JUMP",
        f"24 RERAISE {cleanup}/1i",
        "26 LOAD_CONST",
        "28 RETURN_VALUE",
        f"{cleanup} COPY",
        f"{cleanup + 1} POP_EXCEPT",
        f"{cleanup + 2} RERAISE",
    ]


def test_a_handler_of_with() -> None:
    found = told("""
        0 LOAD_FAST x
        2 BEFORE_WITH
        3 SETUP_WITH 16
        4 POP_TOP
        6 POP_BLOCK
        8 POP_TOP
        10 JUMP 32
        16 WITH_EXCEPT_START
        18 POP_JUMP_IF_TRUE 22
        20 RERAISE 1
        22 POP_TOP
        24 POP_TOP
        26 POP_TOP
        28 POP_EXCEPT
        30 POP_TOP
        32 LOAD_CONST
        34 RETURN_VALUE
    """)
    assert found[2:4] == ["4 POP_TOP 15/1i", "8 POP_TOP"]
    assert found[5:12] == [
        "15 PUSH_EXC_INFO 84/3i",
        "16 WITH_EXCEPT_START 84/3i",
        "18 POP_JUMP_IF_TRUE 84/3i",
        "20 RERAISE 84/3i",
        "24 POP_TOP 84/3i",
        "28 POP_EXCEPT",
        "28 POP_TOP",
    ]


def test_forgetting_a_name_is_no_handler_of_its_own() -> None:
    named = TRY.replace(
        "23 JUMP 26",
        """23 JUMP 26
        30 SETUP_FINALLY 40
        32 POP_BLOCK
        34 JUMP 22
        40 LOAD_CONST
        42 STORE_FAST e
        44 DELETE_FAST e
        46 RERAISE 1""",
    ).replace("20 POP_TOP", "20 POP_TOP\n21 JUMP 30")
    lines = sorted(named.strip().splitlines(), key=lambda line: int(line.split()[0]))
    found = told("\n".join(lines))
    assert "40 LOAD_CONST 78/1i" in found, "what is around it protects it"
    assert "46 RERAISE 78/1i" in found
    assert not any(one.startswith("39 ") for one in found)
    finally_clause = told("\n".join(lines).replace("46 RERAISE 1", "46 RERAISE 0"))
    assert any(one.startswith("39 PUSH_EXC_INFO") for one in finally_clause)


def test_the_end_of_an_asynchronous_loop() -> None:
    found = told("""
        0 LOAD_FAST x
        2 GET_AITER
        4 SETUP_FINALLY 20
        6 GET_ANEXT
        8 LOAD_CONST
        10 YIELD_FROM
        12 POP_BLOCK
        14 STORE_FAST y
        16 JUMP 4
        20 END_ASYNC_FOR
        22 LOAD_CONST
        24 RETURN_VALUE
    """)
    assert found[3:7] == [
        "6 GET_ANEXT 20/1",
        "8 LOAD_CONST 20/1",
        "10 YIELD_FROM 20/1",
        "14 STORE_FAST",
    ]
    assert found[-3] == "20 END_ASYNC_FOR"


def test_what_is_never_executed_is_left_out() -> None:
    assert told("0 LOAD_CONST\n2 RETURN_VALUE\n4 POP_BLOCK") == ["0 LOAD_CONST", "2 RETURN_VALUE"]
    assert blocks.unblocked("f", []) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 LOAD_CONST", "runs off the end"),
        ("0 SETUP_FINALLY 0", "runs off the end"),
        ("0 SETUP_FINALLY 1\n2 NOP", "leads to byte 1"),
        ("0 LOAD_CONST\n2 POP_JUMP_IF_TRUE 3", "leads to byte 3"),
        ("0 LOAD_CONST\n2 JUMP 0", "depend on the way"),
        ("0 NOP\n2 SETUP_FINALLY 6\n4 JUMP 2\n6 RERAISE 0", "depend on the way"),
        ("0 LOAD_CONST\n2 POP_JUMP_IF_TRUE 6\n4 LOAD_CONST\n6 RETURN_VALUE", "depend on the way"),
        ("\n".join(f"{2 * at} LOAD_CONST" for at in range(3002)), "more than 3000 values"),
    ],
)
def test_what_depends_on_the_way_is_corrupt(text: str, why: str) -> None:
    with pytest.raises(CorruptCode, match=re.escape(why)):
        unblocked(text)
