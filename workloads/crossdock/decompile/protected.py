"""``try`` and ``with``."""

from __future__ import annotations

import ast
from dataclasses import replace

from crossdock.decompile import marks
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.flow import VALUE
from crossdock.decompile.marks import Caught, Entered, Received
from crossdock.decompile.regions import FINALLY, STAR, WITH
from crossdock.decompile.structure import NOWHERE, Context, StructureBase
from crossdock.decompile.unwind import FINALLY_END
from crossdock.decompile.work import END, NEXT, TEST, Work


class Protected(StructureBase):
    """Statements with handlers."""

    def entry(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        """Append the statement, and return the block that goes on."""
        kind = self.graph.regions.kinds[work.enters]
        if kind == WITH:
            return self._with(work, context, found)
        if kind == FINALLY:
            return self._finally(work, context, found)
        return self._except(work, context, found, kind == STAR)

    def _inner(self, start: int, following: int, scope: int, context: Context) -> list[ast.stmt]:
        later = [] if following == NOWHERE else [following]
        self.expect_later(later)
        body = self.sequence(start, replace(context, following=following, scope=scope))
        self.expect_later(later, -1)
        return body

    def _ways_from(self, start: int, scope: int) -> set[int]:
        """Where control goes from a region."""
        regions, found = self.graph.regions, set()
        todo, seen = [start], {start}
        while todo:
            number = todo.pop()
            if scope not in regions.chain(self.works[number].region):
                found.add(number)
                continue
            for successor in self.works[number].successors:
                if successor not in seen:
                    seen.add(successor)
                    todo.append(successor)
        return found

    def _exits(self, start: int, scope: int, context: Context) -> list[int]:
        """Where control goes from a region, but for ``return``, ``break`` and ``continue``."""
        found = self._ways_from(start, scope)
        jumps = {context.leaves, context.repeats} - {context.following}
        plain = [one for one in found if one not in jumps and not self.returns(one)]
        if context.following == context.repeats and len(plain) > 1:
            plain.remove(context.following)  # by continue, past what comes after
        if context.following in found and (context.following in plain or not plain):
            return [context.following]
        return sorted(plain, key=lambda one: self.place[one])

    def _with(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        body_at, following = work.successors
        entered = work.stack[-1] if work.stack else None
        if not isinstance(entered, Entered):
            raise Unstructured(f"{self.name}: a with statement enters nothing")
        exits = self._exits(body_at, work.enters, context)
        jumps = {context.leaves, context.repeats}
        swallows = self.sources.get(following) == [work.number] and jumps.issuperset(exits)
        if exits and following not in exits and not swallows:
            following = exits[-1]
        body = self._inner(body_at, following, work.enters, context)
        item = ast.withitem(entered.context, None)
        if body and isinstance(body[0], ast.Assign) and body[0].value is entered:
            (item.optional_vars,) = body.pop(0).targets  # type: ignore[attr-defined]
        kind: type[ast.With | ast.AsyncWith] = ast.AsyncWith if entered.is_async else ast.With
        items = [item]
        if len(body) == 1 and type(body[0]) is kind:
            items, body = items + body[0].items, body[0].body
        found.append(kind(items, body or [ast.Pass()]))
        return following

    def _finally(self, work: Work, context: Context, found: list[ast.stmt]) -> int:
        body_at, handler = work.successors
        region = work.enters
        exits = self._exits(body_at, region, context)
        following = exits[-1] if exits else NOWHERE
        body = self._inner(body_at, following, region, context)
        around = self.graph.flow.handler(region)
        last = self._inner(handler, FINALLY_END - region, around, context) or [ast.Pass()]
        if len(body) == 1 and isinstance(body[0], ast.Try | ast.TryStar) and not body[0].finalbody:
            inner = body[0]
            found.append(type(inner)(inner.body, inner.handlers, inner.orelse, last))
        else:
            found.append(ast.Try(body or [ast.Pass()], [], [], last))
        return following

    def _except(self, work: Work, context: Context, found: list[ast.stmt], groups: bool) -> int:
        body_at, handler = work.successors
        region = work.enters
        around = self.graph.flow.handler(region)
        exits = self._exits(body_at, region, context)
        handled = self._exits(handler, around, context)
        if groups:  # they are only left at their end
            handled = sorted(self._ways_from(handler, around))
        following = self._meeting(exits, handled)
        normal = following
        if exits and following not in exits:
            normal = exits[-1]
        self.expect_later([one for one in {following} if one != NOWHERE])
        body = self._inner(body_at, normal, region, context)
        other: list[ast.stmt] = []
        if normal != following:
            other = self._inner(normal, following, context.scope, context)
        inner = replace(context, following=following, scope=around)
        handlers = self._of_groups(handler, inner) if groups else self._handlers(handler, inner)
        self.expect_later([one for one in {following} if one != NOWHERE], -1)
        kind = ast.TryStar if groups else ast.Try
        found.append(kind(body or [ast.Pass()], handlers, other, []))
        return following

    def _meeting(self, exits: list[int], handled: list[int]) -> int:
        both = [one for one in handled if one in exits]
        if both:
            return both[-1]
        if handled:
            return handled[-1]
        return exits[-1] if exits else NOWHERE

    def _of_groups(self, number: int, context: Context) -> list[ast.ExceptHandler]:
        """The handlers of ``except*``: each is followed by the next, whether it ran or not."""
        found: list[ast.ExceptHandler] = []
        while number != context.following:
            work = self.works[number]
            self.placed.add(number)
            if work.kind == NEXT and not work.statements:
                number = work.successors[0]
                continue
            if work.kind != TEST or work.statements or not isinstance(work.test, marks.Matches):
                raise Unstructured(f"{self.name}: a handler of groups that tests nothing")
            body_at, number = work.successors
            following = self._first_test(number)
            self.expect_later([following])
            body = self.sequence(body_at, replace(context, following=following))
            self.expect_later([following], -1)
            found.append(_handler(work.test.type, body))
        return found

    def _first_test(self, number: int) -> int:
        """Past blocks that only drop what did not match."""
        for _ in range(len(self.works)):
            work = self.works.get(number)
            if work is None or work.kind != NEXT or work.statements:
                break
            if not work.raises_again and work.before and work.before[-1][0] != VALUE:
                break
            number = work.successors[0]
        return number

    def _handlers(self, number: int, context: Context) -> list[ast.ExceptHandler]:
        found: list[ast.ExceptHandler] = []
        while True:
            work = self.works[number]
            if work.kind == END and work.raises_again and not work.statements:
                self.placed.add(number)
                return found
            if work.kind == TEST and isinstance(work.test, marks.Matches):
                self.placed.add(number)
                if work.statements:
                    raise Unstructured(f"{self.name}: a handler does something before its test")
                body = self.sequence(work.successors[0], context)
                found.append(_handler(work.test.type, body))
                number = work.successors[1]
                continue
            found.append(_handler(None, self.sequence(number, context)))
            return found


def _handler(type_: ast.expr | None, body: list[ast.stmt]) -> ast.ExceptHandler:
    name = None
    if body and isinstance(body[0], ast.Assign) and isinstance(body[0].value, Caught):
        (target,) = body[0].targets
        if isinstance(target, ast.Name):
            name, body = target.id, body[1:]
    return ast.ExceptHandler(type_, name, body or [ast.Pass()])


__all__ = ["Protected", "Received"]
