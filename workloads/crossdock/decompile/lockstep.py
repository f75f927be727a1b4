"""Two pieces of bytecode run side by side: do they do the same, instruction for instruction?

The relation is a bisimulation: pairs of places are assumed to be alike until a difference is found.
Where instructions lie does not matter, nor jumps to jumps, nor which of two branches falls through,
nor whether the compiler copied a piece of code, nor the handler of what cannot raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType

from crossdock.decompile.flow import ENDS, Flow
from crossdock.decompile.instructions import Instruction

HARMLESS = frozenset(
    {
        "LOAD_CONST",
        "POP_TOP",
        "SWAP",
        "COPY",
        "PUSH_NULL",
        "RETURN_VALUE",
        "KW_NAMES",
        "NOP",
        "JUMP",
    }
    | {"LOAD_CLOSURE", "POP_EXCEPT", "PUSH_EXC_INFO", "IS_OP"}
    | {"POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE", "LOAD_ASSERTION_ERROR"}
)
"""Instructions that raise nothing, so that their handler does not matter."""

_OPPOSITE = {
    "POP_JUMP_IF_TRUE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_IF_NOT_NONE": "POP_JUMP_IF_NONE",
}
_INVERTIBLE = frozenset({"CONTAINS_OP", "IS_OP"})
_BY_VALUE_ONLY = frozenset({"LOAD_CONST", "KW_NAMES"})
_PAIRS_PER_INSTRUCTION = 8

SameCode = Callable[[CodeType, CodeType], bool]


@dataclass(kw_only=True)
class Lockstep:
    """A comparison of `left` with `right`, which may be the same code.

    ``stop`` says of a place on the left that the comparison ends there: where the right has come to
    by then is in ``stopped``. ``past`` leads over what only the left has. ``alike`` are pairs of
    handlers taken to be the same. ``same_code`` compares code objects among the constants.
    ``difference`` says in words what differed; ``pairs`` are the places that were compared.
    """

    left: Flow
    right: Flow
    same_code: SameCode
    alike: frozenset[tuple[int, int]] = frozenset()
    stop: Callable[[int], bool] | None = None
    past: Callable[[int], int] | None = None
    same_depth: bool = True
    stopped: set[int] = field(default_factory=set)
    difference: str = ""
    pairs: set[tuple[int, int]] = field(default_factory=set)

    def compare(self, left: int, right: int) -> bool:
        """Whether both do the same from these places on."""
        todo = [(left, right)]
        seen = self.pairs = set()
        size = len(self.left.instructions) + len(self.right.instructions)
        while todo:
            left, right = todo.pop()
            left = self.left.skip(left)
            if self.stop is not None and self.stop(left):
                self.stopped.add(right)
                continue
            if self.past is not None:
                left = self.left.skip(self.past(left))
            right = self.right.skip(right)
            if (left, right) in seen:
                continue
            seen.add((left, right))
            if len(seen) > _PAIRS_PER_INSTRUCTION * size:
                self.difference = "too many combinations of places to compare"
                return False
            following = self._step(left, right)
            if following is None:
                return False
            todo += following
        return True

    def _step(self, left: int, right: int) -> list[tuple[int, int]] | None:
        one, two = self.left.instructions[left], self.right.instructions[right]
        if not self._same(one, two):
            opposite = self._opposite(left, right)
            if opposite is None:
                self._differ(left, right)
            return opposite
        following = self._handlers(left, right)
        if following is None:
            return None
        if one.op in ENDS:
            return following
        mine_next, yours_next = self.left.successors(left), self.right.successors(right)
        if one.op != two.op:
            yours_next = yours_next[::-1]
        following += zip(mine_next, yours_next, strict=True)
        return following

    def _opposite(self, left: int, right: int) -> list[tuple[int, int]] | None:
        """What follows ``in`` and a branch on one side, and the opposites on the other."""
        one, two = self.left.instructions[left], self.right.instructions[right]
        if one.op != two.op or one.op not in _INVERTIBLE or one.arg + two.arg != 1:
            return None
        following = self._handlers(left, right)
        if following is None:
            return None
        mine, yours = self.left.skip(left + 1), self.right.skip(right + 1)
        kinds = self.left.instructions[mine].op, self.right.instructions[yours].op
        if not set(kinds) <= {"POP_JUMP_IF_TRUE", "POP_JUMP_IF_FALSE"}:
            return None
        mine_next, yours_next = self.left.successors(mine), self.right.successors(yours)
        if kinds[0] == kinds[1]:
            yours_next = yours_next[::-1]
        return [*following, *zip(mine_next, yours_next, strict=True)]

    def _handlers(self, left: int, right: int) -> list[tuple[int, int]] | None:
        """The pair of handlers to compare too; None if they cannot be alike."""
        one, two = self.left.instructions[left], self.right.instructions[right]
        if one.op in HARMLESS:
            return []
        mine, yours = self.left.handler(left), self.right.handler(right)
        if (mine, yours) in self.alike:
            return []
        if not self._same_handler(one, two):
            self._differ(left, right, "under another handler")
            return None
        return [(mine, yours)] if mine >= 0 else []

    def _same_handler(self, one: Instruction, two: Instruction) -> bool:
        if one.handler is None or two.handler is None:
            return one.handler is two.handler
        if not self.same_depth:
            return one.handler.lasti == two.handler.lasti
        return (one.handler.depth, one.handler.lasti) == (two.handler.depth, two.handler.lasti)

    def _same(self, one: Instruction, two: Instruction) -> bool:
        op = _OPPOSITE.get(one.op, one.op)
        if op != _OPPOSITE.get(two.op, two.op):
            return False
        if one.target >= 0 and one.op != "LOAD_GLOBAL":
            return True
        if op in _BY_VALUE_ONLY:
            return same_constant(one.value, two.value, self.same_code)
        if op == "LOAD_GLOBAL":
            return one.value == two.value and one.arg & 1 == two.arg & 1
        return one.value == two.value

    def _differ(self, left: int, right: int, how: str = "") -> None:
        one, two = self.left.instructions[left], self.right.instructions[right]
        self.difference = " ".join(
            f"{one.op} {short(one.value)} at byte {one.offset}, "
            f"but {two.op} {short(two.value)} at byte {two.offset} {how}".split()
        )


def short(value: object) -> str:
    """A value for a message."""
    text = f"<code {value.co_name}>" if isinstance(value, CodeType) else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def same_constant(one: object, two: object, same_code: SameCode) -> bool:
    """Whether constants are interchangeable: 1 is not True, nor 0.0 the same as -0.0."""
    if type(one) is not type(two):
        return False
    if isinstance(one, CodeType) and isinstance(two, CodeType):
        return same_code(one, two)
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(
            same_constant(a, b, same_code) for a, b in zip(one, two, strict=True)
        )
    if isinstance(one, slice) and isinstance(two, slice):
        return same_constant(parts(one), parts(two), same_code)
    if isinstance(one, frozenset) and isinstance(two, frozenset):
        return sorted(map(_key, one)) == sorted(map(_key, two))
    if isinstance(one, float | complex):
        return repr(one) == repr(two)
    return one == two


def parts(value: slice) -> tuple[object, ...]:
    """The three of a slice."""
    return (value.start, value.stop, value.step)


def _key(value: object) -> str:
    return f"{type(value).__name__} {value!r}"
