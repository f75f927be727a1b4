"""What single instructions of Python 3.10 do to values and blocks."""

from __future__ import annotations

import pytest

from crossdock.decompile import slots
from crossdock.decompile.errors import CorruptCode
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.slots import (
    COMPARED,
    LASTI,
    NOTHING,
    PREVIOUS,
    RAISED,
    TRACE,
    VALUE,
    Block,
    State,
)

TRY, HANDLING = Block(8, 0), Block(8, 0, handling=True)
BELOW = (NOTHING, NOTHING, PREVIOUS)


def after(op: str, arg: int, *stack: str, blocks: tuple[Block, ...] = ()) -> tuple[State, str]:
    """The state after, and what the instruction becomes."""
    one = Instruction(op, arg, arg, 8, 4, None)
    state, parts = slots.after(one, State(stack, blocks))
    return state, " ".join(f"{part.op}:{part.arg}" for part in parts)


@pytest.mark.parametrize(
    ("op", "arg", "before", "wanted", "becomes"),
    [
        ("LOAD_FAST", 0, (), (VALUE,), "LOAD_FAST:0"),
        ("BINARY_OP", 0, (VALUE, VALUE), (VALUE,), "BINARY_OP:0"),
        ("LOAD_METHOD", 0, (VALUE,), (VALUE, VALUE), "LOAD_METHOD:0"),
        ("CALL", 1, (VALUE,) * 4, (VALUE, VALUE), "CALL:1"),
        ("DUP_TOP", 0, (VALUE,), (VALUE, VALUE), "COPY:1"),
        ("DUP_TOP_TWO", 0, (VALUE, VALUE), (VALUE,) * 4, "COPY:2 COPY:2"),
        ("DUP_TOP", 0, RAISED, (*RAISED, COMPARED), ""),
        ("POP_TOP", 0, RAISED, RAISED[:2], ""),
        ("POP_TOP", 0, RAISED[:2], RAISED[:1], "POP_TOP:0"),
        ("STORE_FAST", 0, RAISED[:2], RAISED[:1], "STORE_FAST:0"),
        ("POP_TOP", 0, RAISED[:1], (), ""),
        ("JUMP_IF_NOT_EXC_MATCH", 8, (*RAISED, COMPARED, VALUE), RAISED, MATCHES := "?"),
        ("ROT_N", 3, (VALUE,) * 3, (VALUE,) * 3, "SWAP:3 SWAP:2"),
        ("ROT_N", 4, (*RAISED, VALUE), (VALUE, *RAISED), "SWAP:2"),
        ("ROT_N", 4, (*BELOW, VALUE), (VALUE, *BELOW), "SWAP:2"),
        ("ROT_N", 4, (NOTHING,) * 3 + (VALUE,), (VALUE, *(NOTHING,) * 3), ""),
    ],
)
def test_values(
    op: str, arg: int, before: tuple[str, ...], wanted: tuple[str, ...], becomes: str
) -> None:
    state, parts = after(op, arg, *before)
    assert state == State(wanted)
    if becomes == MATCHES:
        becomes = "CHECK_EXC_MATCH:0 POP_JUMP_IF_FALSE:8"
    assert parts == becomes


def test_blocks_begin_and_end() -> None:
    assert after("SETUP_FINALLY", 0, VALUE) == (State((VALUE,), (Block(8, 1),)), "NOP:0")
    entered, parts = after("SETUP_WITH", 0, VALUE, VALUE, VALUE)
    assert (entered.blocks, parts) == ((Block(8, 2),), ""), "what was entered is not kept"
    assert after("POP_BLOCK", 0, blocks=(TRY, TRY)) == (State((), (TRY,)), "")
    assert after("POP_EXCEPT", 0, *BELOW, blocks=(TRY, HANDLING)) == (
        State((), (TRY,)),
        "POP_EXCEPT:0",
    )
    last = (LASTI, *BELOW[1:])
    assert after("POP_EXCEPT", 0, *last, blocks=(HANDLING,))[1] == "POP_EXCEPT:0 POP_TOP:0"


def test_exceptions_go_on() -> None:
    below = (VALUE, LASTI, NOTHING, PREVIOUS)
    assert after("RERAISE", 1, *RAISED, blocks=(HANDLING,))[0].stack == ()
    told, parts = after("WITH_EXCEPT_START", 0, *below, *RAISED, blocks=(HANDLING,))
    assert (told.stack, parts) == ((*below, *RAISED, VALUE), "WITH_EXCEPT_START:0")
    end = after("END_ASYNC_FOR", 0, VALUE, *(NOTHING,) * 3, *RAISED, blocks=(HANDLING,))
    assert end == (State(), "END_ASYNC_FOR:0")


@pytest.mark.parametrize(
    ("op", "arg", "stack", "blocks"),
    [
        ("BINARY_OP", 0, (VALUE,), ()),
        ("BINARY_OP", 0, RAISED, ()),
        ("LOAD_METHOD", 0, (PREVIOUS,), ()),
        ("POP_TOP", 0, (), ()),
        ("POP_TOP", 0, (PREVIOUS,), ()),
        ("STORE_FAST", 0, (TRACE,), ()),
        ("ROT_N", 1, (VALUE,), ()),
        ("ROT_N", 4, (VALUE,) * 3, ()),
        ("ROT_N", 3, RAISED, ()),
        ("DUP_TOP", 0, (TRACE,), ()),
        ("DUP_TOP_TWO", 0, (VALUE,), ()),
        ("JUMP_IF_NOT_EXC_MATCH", 0, (VALUE, VALUE), ()),
        ("RERAISE", 0, RAISED, ()),
        ("RERAISE", 0, RAISED, (TRY,)),
        ("RERAISE", 0, (VALUE,) * 3, (HANDLING,)),
        ("POP_EXCEPT", 0, BELOW, (TRY,)),
        ("POP_EXCEPT", 0, (PREVIOUS,), (HANDLING,)),
        ("POP_BLOCK", 0, (), ()),
        ("POP_BLOCK", 0, (), (HANDLING,)),
        ("SETUP_WITH", 0, (VALUE,), ()),
        ("SETUP_FINALLY", 0, (), (TRY,) * slots.BLOCKS_MAX),
        ("WITH_EXCEPT_START", 0, (VALUE, *BELOW, *RAISED), (HANDLING,)),
        ("END_ASYNC_FOR", 0, (VALUE, *(NOTHING,) * 3, *RAISED), (TRY,)),
        ("MATCH_KEYS_TELLING", 0, (VALUE, VALUE), ()),
    ],
)
def test_what_no_compiler_writes(
    op: str, arg: int, stack: tuple[str, ...], blocks: tuple[Block, ...]
) -> None:
    with pytest.raises(CorruptCode, match=f"{op} at byte 4"):
        after(op, arg, *stack, blocks=blocks)
