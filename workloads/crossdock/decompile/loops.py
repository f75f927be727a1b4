"""``for`` and ``while``."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from crossdock.decompile.cases import head
from crossdock.decompile.conditions import negated
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.flow import ITERATOR
from crossdock.decompile.marks import ITERATED, Iteration, Received
from crossdock.decompile.structure import NOWHERE, Context, StructureBase
from crossdock.decompile.work import END, LOOP, NEXT, TEST, Work


class Loops(StructureBase):
    """Loops: which blocks are in them, and where ``break`` leads."""

    def loop(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        """Append the loop, and return the block that goes on."""
        if work.kind == LOOP:
            return self._for(work, context, found)
        inside = self._natural(work.number)
        if work.kind == TEST and not work.statements and head(work.test) is None:
            yes, no = work.successors
            if (yes in inside) != (no in inside):
                return self._while(work, inside, context, found)
        exits = self._ways_out(work.number, inside)
        following = self._follow(exits, inside, NOWHERE, context)
        body = self._body(work.number, work.number, following, context, True)
        found.append(ast.While(ast.Constant(True), body or [ast.Pass()], []))
        return following

    def _while(self, work: Work, inside: set[int], context: Context, found: list[ast.stmt]) -> int:
        yes, no = work.successors
        test = work.test
        if test is None or any(work.keeps):
            raise Unstructured(f"{self.name}: the value of a condition is kept")
        if yes not in inside:
            yes, no, test = no, yes, negated(test)
        following = self._follow(self._ways_out(work.number, inside), inside, no, context)
        body = self._body(yes, work.number, following, context, False)
        other = self._otherwise(no, following, context)
        found.append(ast.While(test, body or [ast.Pass()], other))
        return following

    def _for(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        body_at, exhausted = work.successors
        if work.statements and work.number in self.headers:
            raise Unstructured(f"{self.name}: statements before a loop in its header")
        found += work.statements  # of a loop that has no second turn
        following = self._after_for(work, body_at, exhausted, context)
        body = self._body(body_at, work.number, following, context, False)
        first = body.pop(0) if body else None
        if not isinstance(first, ast.Assign) or not isinstance(first.value, Received):
            raise Unstructured(f"{self.name}: a loop that keeps its item")
        iterated = work.test
        if isinstance(iterated, Iteration):
            iterated = iterated.value
        elif not isinstance(iterated, ast.Name) or iterated.id != ITERATED:
            raise Unstructured(f"{self.name}: a loop over what is no iterator")
        other = self._otherwise(exhausted, following, context)
        kind = ast.AsyncFor if work.is_async else ast.For
        (target,) = first.targets
        found.append(kind(target, iterated, body or [ast.Pass()], other))
        return following

    def _body(
        self, start: int, header: int, following: int, context: Context, inside: bool
    ) -> list[ast.stmt]:
        later = [] if following == NOWHERE else [following]
        self.expect_later(later)
        inner = replace(context, following=header, repeats=header, leaves=following)
        body = self.sequence(start, inner, inside)
        self.expect_later(later, -1)
        return body

    def _otherwise(self, start: int, following: int, context: Context) -> list[ast.stmt]:
        if start == following:
            return []
        later = [] if following == NOWHERE else [following]
        self.expect_later(later)
        other = self.sequence(start, replace(context, following=following))
        self.expect_later(later, -1)
        return other

    def _natural(self, header: int) -> set[int]:
        """The blocks from which control comes back to the header without leaving the loop."""
        inside = {header}
        todo = [one for one in self.sources[header] if self.place[one] >= self.place[header]]
        while todo:
            number = todo.pop()
            if number not in inside:
                inside.add(number)
                todo += self.sources[number]
        return inside

    def _ways_out(self, header: int, inside: set[int]) -> list[int]:
        """Where control goes from the loop; what a statement in it protects is in it too."""
        around = self.works[header].region
        found, todo, seen = set(), list(inside), set(inside)
        while todo:
            for successor in self.works[todo.pop()].successors:
                work = self.works[successor]
                if successor in seen or work.raises_again:
                    continue
                seen.add(successor)
                chain = self.graph.regions.chain(work.region)
                if work.region != around and around in chain:
                    todo.append(successor)
                else:
                    found.add(successor)
        return sorted(found, key=lambda one: self.place[one])

    def _follow(self, exits: list[int], inside: set[int], exhausted: int, context: Context) -> int:
        """Where ``break`` of a ``while`` loop leads."""
        if not exits:
            return NOWHERE
        if context.following in exits and not self._are_more(exits, context):
            return context.following
        jumps = {context.leaves, context.repeats}
        open_exits = [one for one in exits if one not in jumps and not self.later.get(one)]
        joins = [
            one
            for number in inside
            for one in self.joins.get(number, ())
            if one not in inside and one not in jumps and not self.later.get(one)
        ]
        joins = [one for one in joins if self.works[one].kind != END]
        if joins:
            return max(joins, key=lambda one: self.place[one])
        if exhausted != NOWHERE:
            return exhausted
        chain = self.graph.regions.chain
        plain = [one for one in open_exits if not self._ends(one)] or [
            one
            for one in open_exits
            if not self.returns(one)
            and (context.scope not in chain(self.works[one].region) or self._is_left_for(one))
        ]
        return max(plain, key=lambda one: self.place[one], default=NOWHERE)

    def _ends(self, number: int) -> bool:
        """Whether a block ends the function, or computes what the next one returns."""
        work = self.works[number]
        if work.kind == NEXT and self.returns(work.successors[0]):
            return self.works[work.successors[0]].kind == END
        return work.kind == END

    def _is_left_for(self, number: int) -> bool:
        """Whether control comes to a block from within a statement around it: by ``break``."""
        region = self.works[number].region
        return any(self.works[one].region != region for one in self.sources[number])

    def _are_more(self, exits: Iterable[int], context: Context) -> bool:
        """Whether the loop is left for more than the ``return`` that ends the function."""
        return self.returns(context.following) and not all(map(self.returns, exits))

    def _after_for(self, work: Work, body: int, exhausted: int, context: Context) -> int:
        """Where ``break`` of a ``for`` loop leads: what of its iterator is dropped tells."""
        iterators = [one for one in self.works[body].before if one[0] == ITERATOR]
        if not iterators:
            raise Unstructured(f"{self.name}: a loop without its iterator")
        slot = iterators[-1]
        todo, seen, exits = [body], {body}, set()
        while todo:
            number = todo.pop()
            if slot not in self.works[number].before:
                exits.add(number)
                continue
            for successor in self.works[number].successors:
                if successor not in seen and successor != work.number:
                    seen.add(successor)
                    todo.append(successor)
        if exhausted in exits or not exits:
            return exhausted
        if context.following in exits and not self._are_more(exits, context):
            return context.following
        plain = [one for one in exits if not self.returns(one)]
        if not plain:
            return exhausted
        return max(plain, key=lambda one: self.place[one])
