"""Protected regions: what each handler is for, and which region lies in which.

A region is named by the index of its handler's first instruction; -1 is the code outside of all.
"""

from __future__ import annotations

from collections import deque

from crossdock.decompile.errors import Unstructured
from crossdock.decompile.flow import EXCEPTION, Flow

EXCEPT, STAR, FINALLY, WITH = "except", "except*", "finally", "with"
"""Regions that statements make."""

CLEANUP, NAMED, PART = "cleanup", "named", "part"
"""Regions around handlers: restore the exception state; forget a name; one ``except*``."""

STATEMENTS = frozenset({EXCEPT, STAR, FINALLY, WITH})
OUTSIDE = -1


class Regions:
    """What the handlers of a flow are for. Unstructured for a handler that no statement makes."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.kinds: dict[int, str] = {}
        self._chains: dict[int, tuple[int, ...]] = {OUTSIDE: (OUTSIDE,)}
        self._nothings: dict[int, int] = {}
        self.of_cleanup: dict[int, int] = {}
        """Of the handler of a cleanup: the handler that it cleans up after."""
        for index, shape in enumerate(flow.shapes):
            if shape is not None:
                self._enter(flow.handler(index))
        for region in [region for region, kind in self.kinds.items() if kind in STATEMENTS]:
            around = flow.handler(region)
            if self.kinds.get(around) == CLEANUP:
                self.of_cleanup[around] = region

    def chain(self, region: int) -> tuple[int, ...]:
        """The region and all that it lies in, inner ones first, the outside last."""
        found = self._chains.get(region)
        if found is not None:
            return found
        path = [region]
        while path[-1] not in self._chains:
            parent = self._parent(path[-1])
            if parent in path:
                raise Unstructured(f"{self.flow.code.co_name}: handlers protect each other")
            path.append(parent)
        rest = self._chains[path.pop()]
        while path:
            rest = (path.pop(), *rest)
            self._chains[rest[0]] = rest
        return self._chains[region]

    def at(self, index: int) -> int:
        """The innermost region of an instruction.

        The compiler enters no handler for the ``NOP`` that it leaves of ``try:``: each lies one
        region further out than what follows.
        """
        region = self.flow.handler(index)
        found = self.flow.instructions
        if region != OUTSIDE or found[index].op != "NOP":
            return region
        known = self._nothings.get(index)
        if known is None:
            end = index
            while end < len(found) and found[end].op == "NOP" and self.flow.handler(end) == OUTSIDE:
                end += 1
            chain = self.chain(self.flow.handler(end) if end < len(found) else OUTSIDE)
            for steps, nothing in enumerate(range(end - 1, index - 1, -1), 1):
                self._nothings[nothing] = chain[min(steps, len(chain) - 1)]
            known = self._nothings[index]
        return known

    def statement(self, index: int) -> int:
        """The innermost region of an instruction that a statement makes."""
        for region in self.chain(self.at(index)):
            if self.kinds.get(region, EXCEPT) in STATEMENTS:
                return region
        return OUTSIDE

    def scope(self, index: int) -> int:
        """The innermost region of an instruction, but for those that only forget a name."""
        for region in self.chain(self.at(index)):
            if self.kinds.get(region) != NAMED:
                return region
        return OUTSIDE

    def exception_slot(self, region: int) -> int:
        """Where on the stack the handler keeps its exception."""
        shape = self.flow.shapes[region]
        return 0 if shape is None else len(shape)

    def _enter(self, region: int) -> None:
        while region != OUTSIDE and region not in self.kinds:
            self.kinds[region] = self._kind(region)
            region = self.flow.handler(region)

    def _parent(self, region: int) -> int:
        around = self.flow.handler(region)
        if self.kinds.get(region) in STATEMENTS and self.kinds.get(around) == CLEANUP:
            return self.flow.handler(around)
        return around

    def _kind(self, region: int) -> str:
        found = self.flow.instructions
        first = self.flow.skip(region)
        one = found[first]
        if one.op == "COPY" and one.arg == 3:
            return CLEANUP
        if one.op == "LOAD_CONST":
            return NAMED
        if one.op == "LIST_APPEND":
            return PART
        if one.op != "PUSH_EXC_INFO":
            raise Unstructured(f"{self.flow.code.co_name}: a handler begins with {one.op}")
        second = self.flow.skip(first + 1)
        if found[second].op == "WITH_EXCEPT_START":
            return WITH
        if found[second].op == "POP_TOP":
            return EXCEPT
        return self._what_touches(region, second)

    def _what_touches(self, region: int, start: int) -> str:
        """By what first handles the exception."""
        flow, slot = self.flow, self.exception_slot(region)
        todo, seen = deque([start]), {start}
        while todo:
            index = todo.popleft()
            op, shape = flow.instructions[index].op, flow.shapes[index]
            height = 0 if shape is None else len(shape) - 1 - slot
            if op == "CHECK_EXC_MATCH" and height == 1:
                return EXCEPT
            if op == "CHECK_EG_MATCH" and height == 3:
                return STAR
            if op in {"RERAISE", "POP_TOP"} and height == 0:
                return FINALLY
            for successor in flow.successors(index):
                if successor not in seen:
                    seen.add(successor)
                    todo.append(successor)
        return FINALLY


def holds_exception(flow: Flow, index: int, slot: int) -> bool:
    """Whether the top of the stack is the exception that a handler keeps at that slot."""
    shape = flow.shapes[index]
    return shape is not None and len(shape) - 1 == slot and shape[-1][0] == EXCEPTION
