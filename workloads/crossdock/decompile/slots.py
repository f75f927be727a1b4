"""What each instruction of Python 3.10 does to the stack and to the blocks, and what it is in newer
versions, which have fewer values on the stack; see ``blocks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from crossdock.decompile import effects
from crossdock.decompile.errors import CorruptCode

if TYPE_CHECKING:
    from crossdock.decompile.instructions import Instruction

BLOCKS_MAX = 20
"""Blocks in each other, as in CPython."""

VALUE, TRACE, EXCEPTION, TYPE = "value", "trace", "exception", "type"
PREVIOUS, LASTI, NOTHING = "previous", "lasti", "nothing"
"""What is below an exception: what was handled before it, and what newer versions have or do not
have there."""
RAISED = (TRACE, EXCEPTION, TYPE)
COMPARED = "compared"
"""A copy of the type."""
_REAL = frozenset({VALUE, EXCEPTION, PREVIOUS, LASTI})
"""What newer versions have on the stack, too."""

SETUPS = frozenset({"SETUP_FINALLY", "SETUP_WITH", "SETUP_ASYNC_WITH"})

_NET: Final = {
    **dict.fromkeys(("LOAD_METHOD", "BEFORE_WITH", "BEFORE_ASYNC_WITH", "FOR_ITER"), 1),
    **dict.fromkeys(("JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP"), -1),
    **dict.fromkeys(
        ("POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE", "POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE"), -1
    ),
}
"""Of instructions that ``effects`` leaves out."""
_TAKE_ONE = frozenset(
    {
        *("LOAD_METHOD", "BEFORE_WITH", "BEFORE_ASYNC_WITH", "FOR_ITER", "GET_ANEXT"),
        *("UNPACK_SEQUENCE", "UNPACK_EX", "GET_LEN", "IMPORT_FROM"),
        *("MATCH_MAPPING", "MATCH_SEQUENCE"),
    }
)
_NO_RESULT = frozenset(
    {
        *("NOP", "JUMP", "KW_NAMES", "SETUP_ANNOTATIONS", "RETURN_VALUE", "RAISE_VARARGS"),
        *("DELETE_FAST", "DELETE_NAME", "DELETE_GLOBAL", "DELETE_DEREF", "DELETE_ATTR"),
        *("DELETE_SUBSCR", "STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF"),
        *("STORE_ATTR", "STORE_SUBSCR", "IMPORT_STAR", "PRINT_EXPR", "POP_TOP"),
        *(name for name, net in _NET.items() if net < 0),
    }
)


@dataclass(frozen=True)
class Block:
    """What protects instructions, or with ``handling`` those of a handler: the byte where that
    begins, and the height of the stack that it keeps."""

    target: int
    height: int
    handling: bool = False


@dataclass(frozen=True)
class State:
    """Before an instruction: the stack, its top last, and blocks, the innermost last."""

    stack: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()

    def ends_with(self, *wanted: str) -> bool:
        """Whether these are on top of the stack."""
        return self.stack[max(len(self.stack) - len(wanted), 0) :] == wanted

    def changed(self, taken: int, *pushed: str) -> State:
        """With other values on top."""
        return replace(self, stack=self.stack[: len(self.stack) - taken] + pushed)

    def depth(self, height: int) -> int:
        """How many values newer versions have in so many."""
        return sum(slot in _REAL for slot in self.stack[:height])

    def handles(self) -> bool:
        """Whether the innermost block is a handler."""
        return bool(self.blocks) and self.blocks[-1].handling

    def left(self) -> State:
        """Without the innermost block."""
        return replace(self, blocks=self.blocks[:-1])

    def entered(self, target: int, height: int) -> State:
        """With another block."""
        return replace(self, blocks=(*self.blocks, Block(target, height)))


Parts = list["Instruction"]


def after(one: Instruction, state: State) -> tuple[State, Parts]:
    """The state after an instruction where it does not jump, and what it is in newer versions."""
    return _ACTIONS.get(one.op, _plain)(one, state)


def _plain(one: Instruction, state: State) -> tuple[State, Parts]:
    """An instruction on values."""
    net = _NET.get(one.op)
    net = effects.net(one.op, one.arg) if net is None else net
    if net is None:
        raise _bad(one, "no compiler leaves it there")
    if one.op in {"SWAP", "COPY"}:
        taken = one.arg
    elif one.op in _NO_RESULT:
        taken = -net
    elif one.op in _TAKE_ONE:
        taken = 1
    else:
        taken = 1 - net
    taken = max(taken, effects.looked_at(one.op))
    _expect(one, state, *(VALUE,) * taken)
    return state.changed(max(-net, 0), *(VALUE,) * net), [one]


def _pop_top(one: Instruction, state: State) -> tuple[State, Parts]:
    """A value, or a part of an exception."""
    slot = state.stack[-1] if state.stack else NOTHING
    if slot not in {VALUE, *RAISED}:
        raise _bad(one, "it takes what the interpreter keeps")
    return state.changed(1), [one] if slot in _REAL else []


def _store(one: Instruction, state: State) -> tuple[State, Parts]:
    """A value, or an exception that gets a name."""
    if not state.ends_with(TRACE, EXCEPTION):
        return _plain(one, state)
    return state.changed(1), [one]


def _rotate(one: Instruction, state: State) -> tuple[State, Parts]:
    """The top goes below others."""
    count = one.arg
    if not 1 < count <= len(state.stack):
        raise _bad(one, f"it moves {count} values of {len(state.stack)}")
    *others, top = state.stack[-count:]
    if top != VALUE:
        raise _bad(one, "it moves what the interpreter keeps")
    distance = sum(slot in _REAL for slot in others) + 1
    swaps = [replace(one, op="SWAP", arg=at, value=at) for at in range(distance, 1, -1)]
    return state.changed(count, top, *others), swaps


def _copy(one: Instruction, state: State) -> tuple[State, Parts]:
    """The top once more."""
    if state.ends_with(TYPE):
        return state.changed(0, COMPARED), []
    _expect(one, state, VALUE)
    return state.changed(0, VALUE), [replace(one, op="COPY", arg=1, value=1)]


def _copy_two(one: Instruction, state: State) -> tuple[State, Parts]:
    """The two on top once more."""
    _expect(one, state, VALUE, VALUE)
    return state.changed(0, VALUE, VALUE), [replace(one, op="COPY", arg=2, value=2)] * 2


def _match_type(one: Instruction, state: State) -> tuple[State, Parts]:
    """A branch on whether the exception is of a type."""
    _expect(one, state, *RAISED, COMPARED, VALUE)
    check = replace(one, op="CHECK_EXC_MATCH", arg=0, value=0, target=-1)
    return state.changed(2), [check, replace(one, op="POP_JUMP_IF_FALSE")]


def _reraise(one: Instruction, state: State) -> tuple[State, Parts]:
    """The exception is raised again."""
    _expect(one, state, *RAISED)
    if not state.handles():
        raise _bad(one, "it is in no handler")
    return state.changed(3), [one]


def _pop_except(one: Instruction, state: State) -> tuple[State, Parts]:
    """A handler ends."""
    if not state.handles() or len(state.stack) < 3 or state.stack[-1] != PREVIOUS:
        raise _bad(one, "it ends no handler")
    parts = [one, replace(one, op="POP_TOP")] if state.stack[-3] == LASTI else [one]
    return state.changed(3).left(), parts


def _setup(one: Instruction, state: State) -> tuple[State, Parts]:
    """A block begins; of ``with`` below the value that was entered."""
    if len(state.blocks) >= BLOCKS_MAX:
        raise _bad(one, f"more than {BLOCKS_MAX} blocks in each other")
    if one.op == "SETUP_FINALLY":
        after = state.entered(one.target, len(state.stack))
        return after, [replace(one, op="NOP", target=-1)]
    _expect(one, state, VALUE, VALUE)
    return state.entered(one.target, len(state.stack) - 1), []


def _pop_block(one: Instruction, state: State) -> tuple[State, Parts]:
    """A block ends."""
    if not state.blocks or state.handles():
        raise _bad(one, "it ends no block")
    return state.left(), []


def _with_except(one: Instruction, state: State) -> tuple[State, Parts]:
    """The exit function is called with the exception."""
    _expect(one, state, VALUE, LASTI, NOTHING, PREVIOUS, *RAISED)
    return state.changed(0, VALUE), [one]


def _end_async_for(one: Instruction, state: State) -> tuple[State, Parts]:
    """The end of a loop, if the exception says so."""
    _expect(one, state, VALUE, NOTHING, NOTHING, NOTHING, *RAISED)
    if not state.handles():
        raise _bad(one, "it is in no handler")
    return state.changed(7).left(), [one]


def _expect(one: Instruction, state: State, *wanted: str) -> None:
    if not state.ends_with(*wanted):
        raise _bad(one, f"it wants on the stack {wanted}, and there is {state.stack[-8:]}")


def _bad(one: Instruction, why: str) -> CorruptCode:
    return CorruptCode(f"{one.op} at byte {one.offset}: {why}")


_ACTIONS: Mapping[str, Callable[[Instruction, State], tuple[State, Parts]]] = {
    "POP_TOP": _pop_top,
    **dict.fromkeys(("STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL"), _store),
    "ROT_N": _rotate,
    "DUP_TOP": _copy,
    "DUP_TOP_TWO": _copy_two,
    "JUMP_IF_NOT_EXC_MATCH": _match_type,
    "RERAISE": _reraise,
    "POP_EXCEPT": _pop_except,
    **dict.fromkeys(SETUPS, _setup),
    "POP_BLOCK": _pop_block,
    "WITH_EXCEPT_START": _with_except,
    "END_ASYNC_FOR": _end_async_for,
}
