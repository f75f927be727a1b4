"""How control flows between instructions, and what is on the stack before each.

Loops that await are taken together: ``SEND`` with its loop is one ``YIELD_FROM``; the first three
instructions of a turn of ``async for``, with the handler that ends the loop, are one
``ASYNC_FOR_ITER`` that jumps as ``FOR_ITER`` does.
"""

from __future__ import annotations

from types import CodeType

from crossdock.decompile import effects, inlining, instructions, shortcuts
from crossdock.decompile.errors import CorruptCode
from crossdock.decompile.inlining import Outlined
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.versions import table as versions

VALUE, NULL, ITERATOR, EXIT, BOUND = "value", "null", "iterator", "exit", "bound"
PREVIOUS, EXCEPTION, LASTI = "previous", "exception", "lasti"
"""What a slot of the stack holds; all but values are for the interpreter's use."""

Slot = tuple[str, int]
"""What a slot holds, and the index of the instruction that it belongs to."""
Shape = tuple[Slot, ...]

STACK_MAX = 2000
_THREADED_MAX = 100
"""Jumps from jump to jump."""

CLEANUP = "CLEANUP_THROW"
"""What a handler around the wait for a generator consists of."""

ENDS = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE"})
LOOPS = frozenset({"FOR_ITER", "ASYNC_FOR_ITER"})
KEEPS = frozenset({"JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP"})
MATCH_CASE = "MATCH_CASE"
"""Of no version: a whole pattern; see ``matching``."""
TESTS = (
    frozenset(f"POP_JUMP_IF_{test}" for test in ("TRUE", "FALSE", "NONE", "NOT_NONE"))
    | KEEPS
    | {MATCH_CASE}
)

_CHANGES = {
    "BEFORE_WITH": (EXIT, VALUE),
    "BEFORE_ASYNC_WITH": (EXIT, VALUE),
    "LOAD_METHOD": (NULL, VALUE),
    "PUSH_EXC_INFO": (PREVIOUS, EXCEPTION),
}
"""What instructions push for the top of the stack, which they take."""

_CALLS = frozenset({"CALL", "CALL_FUNCTION_EX", "CALL_TUPLE"})


class Flow:
    """The instructions of a code object, successors of each, and shapes of the stack before each.

    A shape is None where control never comes. Of a comprehension that the compiler put into the
    code, `part` is what ``inlining`` took out of it; with `apart` that is done, and each is one
    instruction. Raises CorruptCode for stacks that do not add up.
    """

    def __init__(self, code: CodeType, part: Outlined | None = None, apart: bool = False) -> None:
        self.code = code
        self.name = code.co_name if part is None else part.name
        self.shortens_super = versions.running().shortens_super
        self.instructions = instructions.read(code) if part is None else part.instructions()
        self._at: dict[int, int] = {}
        for index, instruction in enumerate(self.instructions):
            self._at.setdefault(instruction.offset, index)
        if part is None:
            self._take_awaits_together()
            self._thread_jumps()
            if apart:
                shortcuts.leave_out(self)
                inlining.take_apart(self)
        self.find_shapes()

    def successors(self, index: int) -> tuple[int, ...]:
        """Without exceptions; of a branch first the next instruction, then the target."""
        instruction = self.instructions[index]
        if instruction.op in ENDS:
            return ()
        if instruction.op == "JUMP":
            return (instruction.target,)
        if index + 1 >= len(self.instructions):
            raise CorruptCode(f"{self.code.co_name}: control runs off the end of the bytecode")
        if instruction.target >= 0:
            return (index + 1, instruction.target)
        return (index + 1,)

    def skip(self, index: int) -> int:
        """The first instruction from here on that does something; `index` in an empty loop."""
        at = index
        for _ in range(len(self.instructions)):
            op = self.instructions[at].op
            if op == "JUMP":
                at = self.instructions[at].target
            elif op == "NOP" and at + 1 < len(self.instructions):
                at += 1
            else:
                return at
        return index

    def insert(self, at: int, new: Instruction) -> None:
        """Put an instruction before another: what leads to that leads to the new one."""
        for one in self.instructions:
            one.target += one.target > at
        self._at = {offset: index + (index > at) for offset, index in self._at.items()}
        self.instructions.insert(at, new)
        self.shapes.insert(at, self.shapes[at])

    def handler(self, index: int) -> int:
        """Where an exception at an instruction leads, -1 for out of the function."""
        entry = self.instructions[index].handler
        return -1 if entry is None else self._at[entry.target]

    def _take_awaits_together(self) -> None:
        found = self.instructions
        for index, instruction in enumerate(found):
            if instruction.op == "RETURN_GENERATOR" and index + 1 < len(found):
                instruction.op = found[index + 1].op = "NOP"
            if instruction.op == "SEND" and self._is_await(index):
                for other in found[index + 1 : instruction.target]:
                    other.op, other.target, other.handler = "NOP", -1, instruction.handler
                instruction.op, instruction.target, instruction.value = "YIELD_FROM", -1, None
        for index, instruction in enumerate(found):
            if instruction.op == "GET_ANEXT":
                self._take_turn_together(index)

    def _thread_jumps(self) -> None:
        """Past tests of what was tested before: the compiler does so too, if not everywhere."""
        for one in self.instructions:
            for _ in range(_THREADED_MAX):
                if one.op not in KEEPS:
                    break
                mine = "TRUE" if "TRUE" in one.op else "FALSE"
                at = self.skip(one.target)
                other = self.instructions[at]
                if other.op == one.op:
                    one.target = other.target
                elif other.op == f"POP_JUMP_IF_{mine}":
                    one.op, one.target = other.op, other.target
                elif "TRUE" in other.op or "FALSE" in other.op:
                    if at + 1 < len(self.instructions):
                        one.op, one.target = f"POP_JUMP_IF_{mine}", at + 1
                else:
                    break

    def _is_await(self, index: int) -> bool:
        part = self.instructions[index : index + 5]
        if [one.op for one in part[:4]] != ["SEND", "YIELD_VALUE", "NOP", "JUMP"]:
            return False
        end = index + 4 + (part[-1].op == CLEANUP)
        return (
            part[0].target == end
            and part[3].target == index
            and (part[1].handler == part[0].handler or self._cleans_up(index + 1, end))
        )

    def _cleans_up(self, index: int, end: int) -> bool:
        """Whether what is thrown into an awaiting generator ends the wait if it is StopIteration.

        That is a handler of its own, which goes on at the end.
        """
        handler = self.handler(index)
        return (
            handler >= 0
            and self.instructions[handler].op == CLEANUP
            and handler + 1 < len(self.instructions)
            and self.skip(handler + 1) == self.skip(end)
        )

    def _take_turn_together(self, index: int) -> None:
        found = self.instructions
        end = self.handler(index)
        part = found[index : index + 3]
        if (
            end < 0
            or end + 1 >= len(found)
            or found[end].op != "END_ASYNC_FOR"
            or [instruction.op for instruction in part] != ["GET_ANEXT", "LOAD_CONST", "YIELD_FROM"]
        ):
            raise CorruptCode(f"{self.code.co_name}: GET_ANEXT outside of an async for loop")
        part[0].op, part[0].target = "ASYNC_FOR_ITER", end + 1
        part[1].op = part[2].op = "NOP"
        for instruction in found[index:]:
            if self.handler(index) != end or instruction.op not in {"NOP", "ASYNC_FOR_ITER"}:
                break
            instruction.handler = found[end].handler
            index += 1

    def find_shapes(self) -> None:
        """Look at all instructions anew."""
        self.shapes: list[Shape | None] = [None] * len(self.instructions)
        if not self.instructions:
            raise CorruptCode(f"{self.code.co_name}: there is no bytecode")
        todo: list[tuple[int, Shape]] = [(0, ())]
        while todo:
            index, shape = todo.pop()
            known = self.shapes[index]
            if known is not None:
                if len(known) != len(shape):
                    raise self._bad(index, f"{len(known)} and {len(shape)} values on the stack")
                continue
            self.shapes[index] = shape
            entry = self.instructions[index].handler
            if entry is not None:
                if entry.depth > len(shape):
                    raise self._bad(index, f"its handler wants {entry.depth} values on the stack")
                target = self._at[entry.target]
                extra = ((LASTI, target),) if entry.lasti else ()
                todo.append((target, (*shape[: entry.depth], *extra, (EXCEPTION, target))))
            successors = self.successors(index)
            for at, successor in enumerate(successors):
                jumps = at == 1 or self.instructions[index].op == "JUMP"
                todo.append((successor, self._after(index, shape, jumps)))

    def _after(self, index: int, shape: Shape, jumps: bool) -> Shape:
        one = self.instructions[index]
        change = _CHANGES.get(one.op)
        if change is not None:
            self._need(index, shape, 1)
            below = (BOUND,) if change[0] == EXIT and one.arg else ()  # before the exit function
            return (*shape[:-1], *((kind, index) for kind in (*below, *change)))
        if (one.op == "LOAD_GLOBAL" and one.arg & 1) or one.op == "PUSH_NULL":
            values = ((VALUE, index),) if one.op == "LOAD_GLOBAL" else ()
            return (*shape, (NULL, index), *values)
        if one.op in {"SWAP", "COPY"}:
            return self._moved(index, one, shape)
        if one.op in LOOPS or one.op in KEEPS:
            self._need(index, shape, 1)
            if one.op in KEEPS:
                return shape if jumps else shape[:-1]
            return shape[:-1] if jumps else (*shape[:-1], (ITERATOR, index), (VALUE, index))
        return self._changed(index, one, shape)

    def _moved(self, index: int, one: Instruction, shape: Shape) -> Shape:
        if one.arg < 1:
            raise self._bad(index, "it moves no value")
        self._need(index, shape, one.arg)
        if one.op == "COPY":
            return (*shape, shape[-one.arg])
        swapped = list(shape)
        swapped[-1], swapped[-one.arg] = swapped[-one.arg], swapped[-1]
        return tuple(swapped)

    def _changed(self, index: int, one: Instruction, shape: Shape) -> Shape:
        change, value = self._effect(index, one.op, one.arg), (VALUE, index)
        self._need(index, shape, effects.looked_at(one.op))
        if change > 0:
            if len(shape) + change > STACK_MAX:
                raise self._bad(index, f"more than {STACK_MAX} values on the stack")
            return shape + (value,) * change
        self._need(index, shape, -change)
        left = shape[: len(shape) + change]
        if one.op in _CALLS:
            self._need(index, left, 1)
            return (*left[:-1], value)
        return left

    def _effect(self, index: int, op: str, arg: int) -> int:
        if op in TESTS:
            return arg - 1 if op == MATCH_CASE else -1
        net = effects.net(op, arg)
        if net is None:
            raise self._bad(index, "no compiler leaves it there")
        return net

    def _need(self, index: int, shape: Shape, count: int) -> None:
        if len(shape) < count:
            raise self._bad(index, f"it takes {count} values from a stack of {len(shape)}")

    def _bad(self, index: int, why: str) -> CorruptCode:
        instruction = self.instructions[index]
        return CorruptCode(
            f"{self.code.co_name}: {instruction.op} at byte {instruction.offset}: {why}"
        )
