"""Statements with bodies, recovered from blocks and the edges between them.

A block that several others lead to stands after the statement that begins at its immediate
dominator (Ramsey, "Beyond Relooper: Recursive Translation of Unstructured Control Flow to
Structured Control Flow", 2022); all edges to it must fall through to there, or be ``break`` or
``continue``.
"""

from __future__ import annotations

import ast
import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from crossdock.decompile import dominators
from crossdock.decompile.cases import Head, head
from crossdock.decompile.conditions import negated
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.flow import VALUE
from crossdock.decompile.graph import Graph
from crossdock.decompile.marks import Matched
from crossdock.decompile.regions import OUTSIDE
from crossdock.decompile.work import END, LOOP, NEXT, TEST, Work, Works

NOWHERE = -(1 << 60)
"""No block has this number."""

COPIED_STATEMENTS_MAX = 8


@dataclass(frozen=True, slots=True)
class Context:
    """Where control goes from a list of statements: off its end, by ``break``, by ``continue``.

    ``scope`` is the region that the statements are in.
    """

    following: int
    leaves: int = NOWHERE
    repeats: int = NOWHERE
    scope: int = OUTSIDE


class StructureBase(ABC):
    """Blocks with their order and dominators; what all statements need."""

    def __init__(self, works: Works, start: int, graph: Graph) -> None:
        self.works = works.all
        self.graph = graph
        self.start = start
        self.name = graph.flow.code.co_name
        self.order = dominators.reverse_postorder(start, lambda one: self.works[one].successors)
        self.place = {number: at for at, number in enumerate(self.order)}
        self.sources: dict[int, list[int]] = {number: [] for number in self.order}
        for number in self.order:
            for successor in self.works[number].successors:
                self.sources[successor].append(number)
        self.dominator = dominators.immediate_dominators(self.order, lambda one: self.sources[one])
        self.joins: dict[int, list[int]] = {}
        for number in self.order[1:]:
            if len(set(self._forward(number))) > 1:
                self.joins.setdefault(self.dominator[number], []).append(number)
        self.headers = {one for one in self.order if self._forward(one) != self.sources[one]}
        self.placed: set[int] = set()
        self.later: dict[int, int] = {}
        self.subjects: set[int] = set()
        """The ids of those of ``match`` statements that have begun."""

    def _forward(self, number: int) -> list[int]:
        at = self.place[number]
        return [one for one in self.sources[number] if self.place[one] < at]

    def sequence(self, number: int, context: Context, inside: bool = False) -> list[ast.stmt]:
        """Statements from a block until control leaves them. ``inside``: the header of a loop is
        met as the start of its body."""
        found: list[ast.stmt] = []
        while True:
            jump = None if inside else self._jump(number, context)
            if jump is not None:
                return found + jump
            self.placed.add(number)
            work = self.works[number]
            if (number in self.headers or work.kind == LOOP) and not inside:
                number = self.loop(work, context, found)
            else:
                found += work.statements
                number = self._statement(work, context, found)
            inside = False
            if number == NOWHERE:
                return found

    def _statement(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        if work.kind == END:
            if work.raises_again:
                raise Unstructured(f"{self.name}: an exception goes on from where none was caught")
            return NOWHERE
        if work.kind == NEXT:
            return work.successors[0]
        if work.kind == TEST:
            return self.branch(work, context, found)
        return self.entry(work, context, found)

    def _jump(self, number: int, context: Context) -> list[ast.stmt] | None:
        """How to get to a block, None if it shall stand right here."""
        if number == context.following:
            return []
        if number == context.repeats:
            return [ast.Continue()]
        if number == context.leaves:
            return [ast.Break()]
        work = self.works.get(number)
        if work is None:
            raise Unstructured(f"{self.name}: control leads nowhere")
        if number in self.placed or self.later.get(number):
            here = self.returns(number) or work.region == context.scope
            if here and self._may_repeat(number):
                return list(work.statements)
            raise Unstructured(f"{self.name}: control jumps in a way that no statement does")
        inside = context.scope in self.graph.regions.chain(work.region)
        if not inside and not self.returns(number):
            raise Unstructured(f"{self.name}: control leaves a statement in a strange way")
        return None

    def returns(self, number: int) -> bool:
        """Whether a block only returns a constant, or what was computed before it."""
        work = self.works.get(number)
        if work is None:
            return False
        if work.before and work.before[-1][0] == VALUE and work.kind in {END, NEXT}:
            return True
        if work.kind != END or len(work.statements) != 1:
            return False
        only = work.statements[0]
        return isinstance(only, ast.Return) and isinstance(only.value, ast.Constant | None)

    def joins_after(self, work: Work, context: Context) -> list[int]:
        """The blocks that stand after the statement that begins with this one."""
        known = {context.following, context.leaves, context.repeats}
        return [
            one
            for one in self.joins.get(work.number, ())
            if one not in known
            and one not in self.placed
            and not self.later.get(one)
            and context.scope in self.graph.regions.chain(self.works[one].region)
        ]

    def expect_later(self, numbers: list[int], by: int = 1) -> None:
        """Blocks that a statement in progress will place after itself (or, with -1, has)."""
        for number in numbers:
            self.later[number] = self.later.get(number, 0) + by

    def branch(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        """``if``: appends it, and returns the block that goes on."""
        test = work.test
        if test is None or any(work.keeps):
            raise Unstructured(f"{self.name}: the value of a condition is kept")
        yes, no = work.successors
        if yes == no:
            if isinstance(test, Matched) and test.keeps:  # else the subject would be dropped
                test = ast.BoolOp(ast.And(), [test, ast.Constant(False)])
            found.append(ast.If(test, [ast.Pass()], []))
            return yes
        case = head(test)
        if case is not None:
            yes, no = (no, yes) if case.opposite else (yes, no)
            return self._case(case, yes, no, work, context, found)
        joins = self.joins_after(work, context)
        if joins:
            return self._joined(test, yes, no, joins, context, found)
        body = self.sequence(yes, context)
        if not (body and is_failure(body[-1])) and self._fails(no):
            found.append(_if(negated(test), self.sequence(no, context), []))
            found += body
            return NOWHERE
        if body and ends(body):
            found.append(_if(test, body, []))
            return no
        other = self.sequence(no, context)
        if other and ends(other):
            found.append(_if(negated(test), other, []))
            found += body
        else:
            found.append(_if(test, body, other))
        return NOWHERE

    def _case(
        self,
        case: Head,
        yes: int,
        no: int,
        work: Work,
        context: Context,
        found: list[ast.stmt],
    ) -> int:
        """One of ``match``: as a condition, from which ``cases`` makes the statement."""
        joins = self._after_cases(id(case.test.subject), self.joins_after(work, context))
        if joins:
            return self._joined(case.positive, yes, no, joins, context, found)
        body = self.sequence(yes, context)
        if body and ends(body):
            found.append(_if(case.positive, body, []))
            return no
        found.append(_if(case.positive, body, self.sequence(no, context)))
        return NOWHERE

    def _joined(
        self,
        test: ast.expr,
        yes: int,
        no: int,
        joins: list[int],
        context: Context,
        found: list[ast.stmt],
    ) -> int:
        """A statement with blocks that stand after it; returns the last of them."""
        self.expect_later(joins)
        inner = replace(context, following=joins[0])
        body, other = self.sequence(yes, inner), self.sequence(no, inner)
        found.append(_if(test, body, other))
        for one, following in itertools.pairwise(joins):
            self.expect_later([one], -1)
            found += self.sequence(one, replace(context, following=following))
        self.expect_later(joins[-1:], -1)
        return joins[-1]

    def _after_cases(self, subject: int, joins: list[int]) -> list[int]:
        """Of the blocks where cases meet, that which follows them all; ends are repeated."""
        first = subject not in self.subjects
        self.subjects.add(subject)
        plain = [one for one in joins if not self._may_repeat(one)]
        return plain if plain or not first else joins[-1:]

    def _may_repeat(self, number: int) -> bool:
        work = self.works[number]
        return work.kind == END and len(work.statements) <= COPIED_STATEMENTS_MAX

    def _fails(self, number: int) -> bool:
        """Whether a block is the failure of an assertion."""
        work = self.works.get(number)
        return work is not None and len(work.statements) == 1 and is_failure(work.statements[0])

    @abstractmethod
    def loop(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        """``for`` or ``while``; see ``loops``."""

    @abstractmethod
    def entry(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        """``try`` or ``with``; see ``protected``."""


def ends(body: list[ast.stmt]) -> bool:
    """Whether control never comes to the end of the statements; False where that is unclear."""
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return bool(last.orelse) and ends(last.body) and ends(last.orelse)
    if isinstance(last, ast.Assert):
        return is_failure(last)
    return isinstance(last, ast.Return | ast.Raise | ast.Continue | ast.Break)


def _if(test: ast.expr, body: list[ast.stmt], other: list[ast.stmt]) -> ast.stmt:
    if head(test) is not None:
        return ast.If(test, body or [ast.Pass()], other)
    if not body and other:
        test, body, other = negated(test), other, []
    if len(body) == 1 and not other and is_failure(body[0]):
        return ast.Assert(negated(test), body[0].msg)  # type: ignore[attr-defined]
    return ast.If(test, body or [ast.Pass()], other)


def is_failure(statement: ast.stmt) -> bool:
    """Whether it is ``assert False``, which an assertion ends with."""
    return (
        isinstance(statement, ast.Assert)
        and isinstance(statement.test, ast.Constant)
        and statement.test.value is False
    )
