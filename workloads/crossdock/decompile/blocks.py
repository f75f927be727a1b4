"""The block stack of Python 3.10, as the handlers that newer versions have in a table.

Instructions there enter and leave blocks. An exception takes the stack back to where it was when
the innermost block was entered, and puts six values on it: three of the exception that was handled
before, three of its own; newer versions need one each. So each value is told apart by what it is,
which is the same wherever control comes from: the bytecode is followed once, each instruction
becomes what it is in newer versions, and those that only move what these do not have disappear.

A handler begins with ``PUSH_EXC_INFO`` there, and has a handler of its own, which restores what was
handled before: the interpreter does both by itself here. They get places of their own, before the
handler and behind the end of the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from crossdock.decompile import slots
from crossdock.decompile.errors import CorruptCode
from crossdock.decompile.exception_table import Entry
from crossdock.decompile.slots import LASTI, NOTHING, PREVIOUS, State

if TYPE_CHECKING:
    from crossdock.decompile.instructions import Instruction

STACK_MAX = 3000

EXCEPT, WITH, NAMED, TURN = "except", "with", "named", "turn"
"""Handlers: of ``try``; of ``with``; that forget the name of an exception; that end ``async for``.
Of the last two newer versions do not remember that they handle."""
_BELOW = {
    EXCEPT: (NOTHING, NOTHING, PREVIOUS),
    WITH: (LASTI, NOTHING, PREVIOUS),
    NAMED: (LASTI, NOTHING, NOTHING),
    TURN: (NOTHING, NOTHING, NOTHING),
}
_FORGETS = ["LOAD", "STORE", "DELETE", "RERAISE"]
_CLEANUP = (("COPY", 3), ("POP_EXCEPT", 0), ("RERAISE", 1))

_KEEPS = frozenset({"JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP"})
_ENDS = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE", "JUMP"})


def unblocked(name: str, found: list[Instruction]) -> list[Instruction]:
    """The instructions of a code object with handlers; targets are byte offsets, before and after.

    Those that are never executed are left out. CorruptCode where blocks or values do not add up, or
    depend on the way that control has taken.
    """
    if not found:
        return []
    try:
        return list(_Following(found).result())
    except CorruptCode as error:
        raise CorruptCode(f"{name}: {error}") from error


class _Following:
    """One pass over all that control comes to."""

    def __init__(self, found: list[Instruction]) -> None:
        self.found = found
        self.at = {one.offset: index for index, one in reversed(list(enumerate(found)))}
        self.kinds: dict[int, str] = {}
        """Of handlers, by the byte where each begins."""
        self.handlers: dict[int, State] = {}
        self.states: dict[int, State] = {}
        self.made: dict[int, list[Instruction]] = {}
        self.todo: list[tuple[int, State]] = [(0, State())]
        self.end = found[-1].offset + 2

    def result(self) -> Iterator[Instruction]:
        """All of it in order."""
        while self.todo:
            index, state = self.todo.pop()
            while self._is_new(index, state):
                state = self._step(index, state)
                if self.found[index].op in _ENDS:
                    break
                index += 1
        kept = sorted(target for target in self.handlers if self._is_kept(target))
        begins = {self.at[target]: target for target in kept}
        for index in sorted(self.made):
            if index in begins:
                target = begins[index]
                yield self._new("PUSH_EXC_INFO", 0, target - 1, self.handlers[target])
            yield from self.made[index]
        for target in kept:
            for at, (op, arg) in enumerate(_CLEANUP):
                yield self._new(op, arg, self._cleanup(target) + at, self.handlers[target].left())

    def _is_new(self, index: int, state: State) -> bool:
        """Whether control has not come there before; if it has, then with the same."""
        if index >= len(self.found):
            raise CorruptCode("control runs off the end of the bytecode")
        known = self.states.setdefault(index, state)
        one = self.found[index]
        if known != state:
            raise CorruptCode(
                f"{one.op} at byte {one.offset}: the stack or the blocks depend on the way there"
            )
        if len(state.stack) > STACK_MAX:
            raise CorruptCode(f"{one.op} at byte {one.offset}: more than {STACK_MAX} values")
        return index not in self.made

    def _step(self, index: int, state: State) -> State:
        """The state behind an instruction; where else control goes is put down to be followed."""
        one = self.found[index]
        after, parts = slots.after(one, state)
        handler = self._handler(after if one.op == "POP_EXCEPT" else state)
        self.made[index] = [replace(part, handler=handler) for part in parts]
        if one.op in slots.SETUPS:
            self._enter(one.target, after)
        elif one.target >= 0:
            jumped = state if one.op in _KEEPS else after
            jumped = state.changed(1) if one.op == "FOR_ITER" else jumped
            self.todo.append((self._index(one.target), jumped))
        return after

    def _enter(self, target: int, state: State) -> None:
        """Follow the handler of the block that was just entered."""
        block = state.blocks[-1]
        kind = self.kinds[target] = self._kind(self._index(target))
        stack = (*state.stack[: block.height], *_BELOW[kind], *slots.RAISED)
        handling = replace(block, handling=True)
        self.handlers[target] = State(stack, (*state.blocks[:-1], handling))
        self.todo.append((self.at[target], self.handlers[target]))

    def _index(self, target: int) -> int:
        index = self.at.get(target)
        if index is None:
            raise CorruptCode(f"a jump leads to byte {target}, amid what makes one value")
        return index

    def _kind(self, first: int) -> str:
        while first + 1 < len(self.found) and self.found[first].op == "NOP":
            first += 1
        part = self.found[first : first + 4]
        if part[0].op == "WITH_EXCEPT_START":
            return WITH
        if part[0].op == "END_ASYNC_FOR":
            return TURN
        if [one.op.partition("_")[0] for one in part] == _FORGETS:
            load, *names, last = part
            if load.value is None and names[0].value == names[1].value and last.arg:
                return NAMED
        return EXCEPT

    def _is_kept(self, target: int) -> bool:
        return self.kinds[target] in {EXCEPT, WITH}

    def _cleanup(self, target: int) -> int:
        """A place of its own behind the code."""
        return self.end + len(_CLEANUP) * target

    def _new(self, op: str, arg: int, offset: int, state: State) -> Instruction:
        handler = self._handler(state)
        fields = {"op": op, "arg": arg, "value": arg, "target": -1, "offset": offset}
        return replace(self.found[0], **fields, handler=handler)  # type: ignore[arg-type]

    def _handler(self, state: State) -> Entry | None:
        """The handler of an instruction in this state; it does not tell which others it is for."""
        for block in reversed(state.blocks):
            place, kept = block.target, self._is_kept(block.target)
            if block.handling and kept:
                place = self._cleanup(place)
                return Entry(place, place, place, state.depth(block.height + 3), True)
            if not block.handling:
                place -= kept
                lasti = self.kinds[block.target] in {WITH, NAMED}
                return Entry(place, place, place, state.depth(block.height), lasti)
        return None
