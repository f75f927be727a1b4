"""Comprehensions that the compiler put into the code around them (PEP 709), taken out again.

The code saves the variables of the comprehension on the stack, runs its loop, and restores them; a
handler restores them when the loop raises. All of that becomes one instruction, ``COMPREHENSION``,
which takes an iterator and gives the result; its value is the loop as the function that it would be
where nothing is inlined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossdock.decompile.errors import Unstructured
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.marks import ITERATED

if TYPE_CHECKING:
    from crossdock.decompile.flow import Flow

OUTLINED = "COMPREHENSION"
SAVE = "LOAD_FAST_AND_CLEAR"
_KINDS = {"BUILD_LIST": "<listcomp>", "BUILD_SET": "<setcomp>", "BUILD_MAP": "<dictcomp>"}
_LOOPS = frozenset({"FOR_ITER", "ASYNC_FOR_ITER"})
_ENDS = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE"})
_DEPTH_MAX = 30
"""So many values below a comprehension may be stored amid what restores its variables."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Outlined:
    """A comprehension: ``name`` is that of the function that it would be; its instructions."""

    name: str
    found: tuple[Instruction, ...]

    def instructions(self) -> list[Instruction]:
        """For a flow, that may change them."""
        return [replace(one) for one in self.found]

    def _key(self) -> tuple[object, ...]:
        return (self.name, *((one.op, one.value, one.target) for one in self.found))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outlined) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, len(self.found)))

    def __repr__(self) -> str:
        return f"<{self._key()!r}>"


def take_apart(flow: Flow) -> None:
    """Make each comprehension one instruction, inner ones first."""
    found = flow.instructions
    for index in reversed(range(len(found))):
        if found[index].op in _KINDS and found[index].arg == 0:
            start = _body(found, index)
            if start is not None:
                _Comprehension(flow, index, start).replace()


def _body(found: list[Instruction], build: int) -> int | None:
    """Where the loop of a comprehension begins whose result is built there; None if it is none."""
    swap = _next(found, build + 1)
    start = _next(found, swap + 1)
    if found[swap].op != "SWAP" or found[swap].arg != 2:
        return None
    header = _next(found, start + 1) if found[start].op == "GET_ITER" else start
    return start if found[header].op in _LOOPS else None


def _next(found: list[Instruction], at: int) -> int:
    while at + 1 < len(found) and found[at].op == "NOP":
        at += 1
    return min(at, len(found) - 1)


class _Comprehension:
    """One, whose result is built at `build`, and whose loop starts at `start`."""

    def __init__(self, flow: Flow, build: int, start: int) -> None:
        self.flow = flow
        self.found = flow.instructions
        self.build = build
        self.start = start
        self.header = start if self.found[start].op in _LOOPS else _next(self.found, start + 1)
        self.end = self.found[self.header].target
        self.first, self.names = self._saved()

    def replace(self) -> None:
        """Put the one instruction in its place."""
        found, first = self.found, self.found[self.first]
        outlined = Outlined(_KINDS[found[self.build].op], tuple(self._function()))
        self._restore()
        for at in range(self.first + 1, self.start):
            found[at] = replace(found[at], op="NOP", handler=first.handler)
        found[self.first] = replace(first, op=OUTLINED, value=outlined)
        found[self.first + 1] = replace(found[self.first + 1], op="JUMP", target=self.end)

    def _saved(self) -> tuple[int, list[str]]:
        """The first instruction, and the variables that are saved."""
        found, names = self.found, list[str]()
        at = swap = self.build - 1
        while swap >= 0 and found[swap].op == "NOP":
            at = swap = swap - 1
        if swap < 0 or found[swap].op != "SWAP":
            return self.build, []
        while at > 0 and len(names) + 1 < found[swap].arg:
            at -= 1
            if found[at].op == SAVE:
                names.insert(0, str(found[at].value))
            elif found[at].op != "NOP":
                return self.build, []
        return at, names

    def _function(self) -> Iterator[Instruction]:
        """The loop as a function of its iterator."""
        found, inside = self.found, self._inside()
        places = {index: place for place, index in enumerate(inside, 2)}
        places[self.end] = len(inside) + 2
        offset = found[self.build].offset
        yield replace(found[self.build], handler=None)
        yield Instruction("LOAD_FAST", 0, ITERATED, -1, offset, None)
        for index in inside:
            one = found[index]
            target = places[one.target] if one.target >= 0 else -1
            yield replace(one, target=target, handler=None)
        yield Instruction("RETURN_VALUE", 0, 0, -1, offset, None)

    def _inside(self) -> list[int]:
        """The instructions of the loop."""
        flow, around = self.flow, self.flow.handler(self.build)
        seen, todo = {self.start}, [self.start]
        while todo:
            index = todo.pop()
            op = self.found[index].op
            if op in _ENDS or (
                self.flow.handler(index) not in {-1, around} and op not in {"NOP", "JUMP"}
            ):
                raise self._strange(index)
            for successor in flow.successors(index):
                if successor not in seen and successor != self.end:
                    seen.add(successor)
                    todo.append(successor)
        return sorted(seen)

    def _restore(self) -> None:
        """Leave out what restores the variables; it may be mixed with what becomes of the result.

        A slot of the stack is a name for a saved variable, 0 for the result, and less for what was
        there before.
        """
        saved = self.names[-1:] + self.names[:-1]  # as SWAP leaves them
        stack: list[object] = [*range(-_DEPTH_MAX, 0), *saved, 0]
        places, taken = list[int](), list[tuple[Instruction, object]]()
        at, waiting = self.end, set(self.names)
        while waiting:
            at = self.flow.skip(at)
            one = self.found[at]
            places.append(at)
            if one.op == "SWAP" and 1 < one.arg <= len(stack):
                stack[-1], stack[-one.arg] = stack[-one.arg], stack[-1]
            elif one.op in {"STORE_FAST", "POP_TOP"} and stack:
                slot = stack.pop()
                if not isinstance(slot, str):
                    taken.append((one, slot))
                elif one.op == "STORE_FAST" and one.value != slot:
                    raise self._strange(at)
                else:
                    waiting.discard(slot)
            else:
                raise self._strange(at)
            at += 1
        rest = _in_order(taken, stack)
        if len(rest) > len(places):
            raise self._strange(at)
        for at in places:
            kept = self.found[at]
            new = rest.pop(0) if rest else replace(kept, op="NOP")
            self.found[at] = replace(new, offset=kept.offset, handler=kept.handler)

    def _strange(self, index: int) -> Unstructured:
        one = self.found[index]
        return Unstructured(
            f"{self.flow.code.co_name}: {one.op} at byte {one.offset} is in no comprehension"
        )


def _in_order(taken: list[tuple[Instruction, object]], after: list[object]) -> list[Instruction]:
    """Instructions that take these slots from a stack with the result on top, and leave `after`."""
    slots = {slot for slot in [*after, *(slot for _, slot in taken)] if isinstance(slot, int)}
    stack: list[object] = [*sorted(slots | {0})]
    found = []

    def swap(depth: int) -> None:
        if depth > 1:
            found.append(Instruction("SWAP", depth, depth, -1, 0, None))
            stack[-1], stack[-depth] = stack[-depth], stack[-1]

    for one, slot in taken:
        swap(len(stack) - stack.index(slot))
        stack.pop()
        found.append(one)
    for depth in range(len(stack), 1, -1):
        if stack[-depth] != after[-depth]:
            swap(len(stack) - stack.index(after[-depth]))
            swap(depth)
    return found


__all__ = ["OUTLINED", "Outlined", "take_apart"]
