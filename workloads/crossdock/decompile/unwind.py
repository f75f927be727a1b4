"""Edges of control as the source has them: without the code that leaving a statement costs.

Leaving ``with`` calls its exit function, leaving ``try`` runs a copy of the ``finally`` clause,
leaving a handler restores the exception state, and leaving a loop drops its iterator. The compiler
repeats that code on each way out; an edge here leads past it.
"""

from __future__ import annotations

import itertools
import operator

from crossdock.decompile import tails
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.flow import BOUND, EXCEPTION, ITERATOR, KEEPS, NULL, TESTS, VALUE, Flow
from crossdock.decompile.lockstep import HARMLESS, Lockstep
from crossdock.decompile.regions import (
    CLEANUP,
    FINALLY,
    NAMED,
    OUTSIDE,
    STAR,
    WITH,
    Regions,
    holds_exception,
)

FINALLY_END = -2
"""The end of the ``finally`` clause of the handler h is the place ``FINALLY_END - h``."""

_TAIL_MAX = 12
_CHAIN = ("SWAP", "COPY")
_COMPARES = frozenset({"COMPARE_OP", "IS_OP", "CONTAINS_OP"})


class Unwinding:
    """Resolved edges of a flow; Unstructured where code to leave a statement is not as compiled.

    ``joins_all``: of equal ends of the function one stands for all, even where source may well have
    each.
    """

    def __init__(self, flow: Flow, regions: Regions, joins_all: bool = False) -> None:
        self._joins_all = joins_all
        self.flow = flow
        self.regions = regions
        self._tails: dict[object, int] = {}
        self._copies: dict[tuple[int, int], int] = {}
        self._joined = tails.joined(flow, regions)
        self._caught: set[tuple[int, object]] | None = None

    def successors(self, index: int) -> list[int]:
        """Of a branch: the next instruction's, then the target's."""
        instruction = self.flow.instructions[index]
        if instruction.op == "RERAISE":
            return self._after_reraise(index)
        found = []
        for successor in self.flow.successors(index):
            if self.is_chain(index) and successor == instruction.target:
                successor = self._past_chain(index, successor)
            found.append(self.resolve(index, successor))
        return found

    def resolve(self, index: int, successor: int) -> int:
        """Where the edge from an instruction to the next one leads in the source."""
        following = successor
        at = self._past_star(self.skip(successor))
        for region in self.regions.chain(self.regions.at(index)):
            if region in self.regions.chain(self.regions.at(at)):
                break
            at = self._past_star(self.skip(self._leave(region, at)))
        at = self._joined.get(at, at)
        return self._first_of_tail(at, self._falls(at, following))

    def _falls(self, at: int, following: int) -> bool:
        """Whether control just goes on there, so that its end is its own."""
        return not self._joins_all and at == self.flow.skip(following)

    def skip(self, index: int) -> int:
        """Past jumps, nothings that protect no more than what follows, and dropped iterators."""
        flow, regions = self.flow, self.regions
        at = index
        for _ in range(len(flow.instructions)):
            op, shape = flow.instructions[at].op, flow.shapes[at]
            if op == "JUMP":
                following = flow.instructions[at].target
            elif op == "POP_TOP" and shape is not None and shape[-1][0] == ITERATOR:
                following = at + 1
            elif op == "NOP" and at + 1 < len(flow.instructions):
                following = at + 1
                if regions.at(following) not in regions.chain(regions.at(at)):
                    return at
            else:
                return at
            at = following
        return index

    def is_chain(self, index: int) -> bool:
        """Whether a branch is one of ``a < b < c``, that has kept b for the next comparison."""
        found = self.flow.instructions
        if found[index].op not in TESTS or index < 3 or found[index - 1].op not in _COMPARES:
            return False
        before = found[index - 3], found[index - 2]
        return tuple(one.op for one in before) == _CHAIN and all(one.arg == 2 for one in before)

    def after_with(self, region: int) -> int:
        """Where a ``with`` statement goes on when it has swallowed an exception."""
        at = self._expect(region, "PUSH_EXC_INFO")
        at = self._expect(at, "WITH_EXCEPT_START")
        if self.flow.instructions[self.flow.skip(at)].op == "GET_AWAITABLE":
            at = self._awaited(at)
        branch = self.flow.skip(at)
        if self.flow.instructions[branch].op != "POP_JUMP_IF_TRUE":
            raise self._strange(branch)
        at = self.flow.instructions[branch].target
        for op in ("POP_TOP", "POP_EXCEPT", "POP_TOP", "POP_TOP"):
            at = self._expect(at, op)
        if self._drops(at, BOUND):
            at = self._expect(at, "POP_TOP")
        return self.resolve(at - 1, at)

    def _drops(self, at: int, kind: str) -> bool:
        """Whether what comes next drops something of this kind."""
        at = self.flow.skip(at)
        kinds = [one for one, _ in self.flow.shapes[at] or ()]
        return self.flow.instructions[at].op == "POP_TOP" and kinds[-1:] == [kind]

    def _after_reraise(self, index: int) -> list[int]:
        for region in self.regions.chain(self.regions.at(index)):
            owner = self.regions.of_cleanup.get(region, -1)
            if self.regions.kinds.get(owner) == FINALLY:
                slot = self.regions.exception_slot(owner)
                if holds_exception(self.flow, index, slot):
                    return [FINALLY_END - owner]
        return []

    def _past_chain(self, index: int, successor: int) -> int:
        at = self.flow.skip(successor)
        if self.flow.instructions[index].op in KEEPS:
            at = self._expect(at, "SWAP")
        return self._expect(at, "POP_TOP")

    def _leave(self, region: int, at: int) -> int:
        kind = self.regions.kinds[region]
        if kind == FINALLY:
            return self._past_copy(region, at)
        if kind == WITH:
            return self._past_exit(at)
        if kind == CLEANUP and not self._is_star(region):
            return self._past_cleanup(region, at)
        if kind == NAMED and self._is_star(self.flow.handler(region)):
            return at if self._forgets(at) is None else self._past_name(at)
        return at

    def _is_star(self, region: int) -> bool:
        """Whether a region is around the handlers of ``except*``."""
        owner = self.regions.of_cleanup.get(region, OUTSIDE)
        return self.regions.kinds.get(owner) == STAR

    def _past_star(self, at: int) -> int:
        """Past what raises again, after all ``except*``, the exceptions that are left."""
        found = self.flow.instructions
        if found[at].op != "LIST_APPEND" or not self._is_star(self.regions.at(at)):
            return at
        if found[self.flow.skip(at + 1)].op != "PREP_RERAISE_STAR":
            return at
        for op in ("LIST_APPEND", "PREP_RERAISE_STAR", "COPY", "POP_JUMP_IF_NOT_NONE", "POP_TOP"):
            at = self._expect(at, op)
        return self.skip(self._expect(at, "POP_EXCEPT"))

    def _past_exit(self, at: int) -> int:
        at = self._optional_swap(self._optional_swap(at, 3))
        for _ in range(3):
            at = self._expect(at, "LOAD_CONST")
        at = self._expect(at, "CALL")
        if self.flow.instructions[self.flow.skip(at)].op == "GET_AWAITABLE":
            at = self._awaited(at)
        return self._expect(at, "POP_TOP")

    def _awaited(self, at: int) -> int:
        for op in ("GET_AWAITABLE", "LOAD_CONST", "YIELD_FROM"):
            at = self._expect(at, op)
        return at

    def _past_cleanup(self, region: int, at: int) -> int:
        at = self._expect(self._optional_swap(at), "POP_EXCEPT")
        forgotten = self._forgets(at)
        names = {
            self._forgets(one)
            for one, kind in self.regions.kinds.items()
            if kind == NAMED and self.flow.handler(one) == region
        }
        if forgotten is not None and (forgotten in names or self._caught_as(region, forgotten)):
            at = self._past_name(at)
        return at

    def _caught_as(self, region: int, name: object) -> bool:
        """Whether a handler gives its exception that name: for one with no body, nothing forgets
        it where something raises."""
        if self._caught is None:
            flow = self.flow
            self._caught = {
                (shape[-1][1], one.value)
                for one, shape in zip(flow.instructions, flow.shapes, strict=True)
                if shape and shape[-1][0] == EXCEPTION and one.op.startswith("STORE_")
            }
        return (self.regions.of_cleanup.get(region, OUTSIDE), name) in self._caught

    def _past_name(self, at: int) -> int:
        for _ in range(3):
            at = self.flow.skip(at) + 1
        return at

    def _forgets(self, at: int) -> object:
        """The name in ``name = None; del name``, as after a handler; None for other code."""
        load = self.flow.skip(at)
        store = self.flow.skip(min(load + 1, len(self.flow.instructions) - 1))
        delete = self.flow.skip(min(store + 1, len(self.flow.instructions) - 1))
        one, two, three = (self.flow.instructions[place] for place in (load, store, delete))
        if one.op != "LOAD_CONST" or one.value is not None or two.value != three.value:
            return None
        kinds = two.op.partition("_"), three.op.partition("_")
        if (kinds[0][0], kinds[1][0]) != ("STORE", "DELETE") or kinds[0][2] != kinds[1][2]:
            return None
        return two.value

    def _past_copy(self, region: int, at: int) -> int:
        known = self._copies.get((region, at))
        if known is not None:
            return known
        flow, slot = self.flow, self.regions.exception_slot(region)
        start = self._expect(region, "PUSH_EXC_INFO")
        around = flow.handler(region)

        def ends(index: int) -> bool:
            return flow.instructions[index].op == "RERAISE" and holds_exception(flow, index, slot)

        lockstep = Lockstep(
            left=flow,
            right=flow,
            same_code=operator.eq,
            alike=frozenset({(around, self.regions.at(at)), (around, self._outer(region))}),
            stop=ends,
            past=lambda index: self._past_return(index, slot),
            same_depth=False,
        )
        same = lockstep.compare(start, at)
        stopped = {self._first_of_tail(self.skip(place), False) for place in lockstep.stopped}
        if not same or not self._all_alike(sorted(stopped)):
            raise Unstructured(
                f"{flow.code.co_name}: the finally clause is not repeated at byte "
                f"{flow.instructions[at].offset}: {lockstep.difference or 'it goes on elsewhere'}"
            )
        self._copies[region, at] = result = min(stopped) if stopped else at
        return result

    def _past_return(self, index: int, slot: int) -> int:
        """Past what ``return`` in the clause costs in the handler, and not in a copy."""
        one = self.flow.instructions[index]
        if one.op != "POP_TOP" or not holds_exception(self.flow, index, slot):
            return index
        at = self.flow.skip(index + 1)
        return at + 1 if self.flow.instructions[at].op == "POP_EXCEPT" else index

    def _all_alike(self, places: list[int]) -> bool:
        """Whether the code from each place on is the same."""
        return all(
            Lockstep(left=self.flow, right=self.flow, same_code=operator.eq).compare(one, two)
            for one, two in itertools.pairwise(places)
        )

    def _outer(self, region: int) -> int:
        return self.regions.chain(region)[1]

    def _first_of_tail(self, at: int, falls: bool) -> int:
        """Of equal pieces of code that end the function, the first seen stands for all."""
        flow = self.flow
        found, shape = flow.instructions, flow.shapes[at]
        if any(one[0] in {VALUE, NULL} for one in shape or ()):
            return at  # amid an expression
        key: list[object] = [shape and len(shape)]
        for index in range(at, min(at + _TAIL_MAX, len(found))):
            one = found[index]
            if one.target >= 0 or one.op in {"JUMP", "YIELD_FROM"}:
                return at
            if self.regions.at(index) != self.regions.at(at) and one.op not in HARMLESS:
                return at
            key.append((one.op, tails.comparable(one.value), one.arg))
            if one.op in {"RETURN_VALUE", "RAISE_VARARGS"} or (one.op == "RERAISE" and index == at):
                break
        else:
            return at
        returns = [one.op for one in found[at : index + 1]] == ["LOAD_CONST", "RETURN_VALUE"]
        if returns:
            key[0] = "returns"
        else:
            key += (self.regions.at(at),)
            if falls:
                return at
        return self._tails.setdefault(tuple(key), at)

    def _optional_swap(self, at: int, depth: int = 2) -> int:
        at = self.flow.skip(at)
        one = self.flow.instructions[at]
        return at + 1 if one.op == "SWAP" and one.arg == depth else at

    def _expect(self, at: int, op: str) -> int:
        at = self.flow.skip(at)
        if self.flow.instructions[at].op != op or at + 1 >= len(self.flow.instructions):
            raise self._strange(at)
        return at + 1

    def _strange(self, at: int) -> Unstructured:
        one = self.flow.instructions[at]
        return Unstructured(
            f"{self.flow.code.co_name}: {one.op} at byte {one.offset} leaves no statement"
        )
