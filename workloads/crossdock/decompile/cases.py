"""``match`` in the source: patterns as they are written, and cases put together to statements."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from crossdock.decompile.conditions import negated
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase
from crossdock.decompile.marks import Matched, Subject
from crossdock.decompile.patterns import (
    CLASS,
    MAPPING,
    NAMELESS,
    OR,
    SEQUENCE,
    SINGLETON,
    VALUE,
    Pattern,
    Steps,
)


class Patterns(MachineBase):
    """The instruction that a pattern is taken together to."""

    operations: ClassVar[dict[str, str]] = {}

    def matched(self, instruction: Instruction) -> Matched:
        """The test; the subject is on the stack, and stays there for another case."""
        value = self.pop()
        subject = value if isinstance(value, Subject) else Subject(value)
        if instruction.arg:
            self.push(subject)
        assert isinstance(instruction.value, Pattern)
        return Matched(subject, self._pattern(instruction.value), bool(instruction.arg))

    def _pattern(self, place: Pattern) -> ast.pattern:
        found = self._unnamed(place)
        for op, name in place.bound:
            found = ast.MatchAs(found, self._bound(op, name))
        return found or ast.MatchAs(None, None)

    def _unnamed(self, place: Pattern) -> ast.pattern | None:
        parts = place.parts
        if place.kind == VALUE:
            return ast.MatchValue(self._evaluated(place.value))
        if place.kind == SINGLETON:
            return ast.MatchSingleton(place.value[0][2])  # type: ignore[arg-type]
        if place.kind == SEQUENCE:
            return ast.MatchSequence(
                [
                    self._star(part) if at == place.star else self._pattern(part)
                    for at, part in enumerate(parts)
                ]
            )
        if place.kind == MAPPING:
            keys = [self._evaluated(key) for key in place.keys]
            values = [self._pattern(part) for part in parts]
            rest = None if place.rest is None else self._bound(*place.rest)
            return ast.MatchMapping(keys, values, rest)
        if place.kind == CLASS:
            found = [self._pattern(part) for part in parts]
            split = len(found) - len(place.names)
            type_, names = self._evaluated(place.value), list(place.names)
            return ast.MatchClass(type_, found[:split], names, found[split:])
        if place.kind == OR:
            return ast.MatchOr([self._pattern(part) for part in parts])
        if place.kind == NAMELESS:
            return ast.MatchAs(None, None)
        return None

    def _star(self, place: Pattern) -> ast.pattern:
        names = [self._bound(op, name) for op, name in place.bound]
        return ast.MatchStar(names[0] if names else None)

    def _bound(self, op: str, name: str) -> str:
        return self._bind(Instruction(op, 0, name, -1, 0, None))

    def _evaluated(self, steps: Steps) -> ast.expr:
        for op, arg, value in steps:
            self.run(Instruction(op, arg, value, -1, 0, None))
        return self.pop()

    @abstractmethod
    def _bind(self, instruction: Instruction) -> str:
        """Note that a name is bound. Given by ``Stores``."""


class Head(NamedTuple):
    """A test of a subject; its guard, if it has one; whether it is the opposite."""

    test: Matched
    guard: ast.expr | None
    opposite: bool

    @property
    def positive(self) -> ast.expr:
        """The condition under which the case is taken."""
        return self.test if self.guard is None else _all(ast.And(), [self.test, self.guard])


def head(test: ast.expr | None) -> Head | None:
    """What a condition tests a subject for, if it does."""
    if isinstance(test, Matched):
        return Head(test, None, False)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = head(test.operand)
        return inner and inner._replace(opposite=not inner.opposite)
    if not isinstance(test, ast.BoolOp):
        return None
    first, rest = head(test.values[0]), _all(test.op, test.values[1:])
    if first is None or first.guard is not None or first.opposite is isinstance(test.op, ast.And):
        return None
    return Head(first.test, negated(rest) if first.opposite else rest, first.opposite)


def _all(op: ast.boolop, values: list[ast.expr]) -> ast.expr:
    return values[0] if len(values) == 1 else ast.BoolOp(op, values)


def restored(statements: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements in which tests of subjects have become ``match``."""
    found: list[ast.stmt] = []
    rest = list(statements)
    while rest:
        first = head(rest[0].test) if isinstance(rest[0], ast.If) else None
        if first is not None:
            cases, rest = _cases(rest, first.test.subject)
            found.append(ast.Match(first.test.subject.value, cases))
        else:
            found.append(_inside(rest.pop(0)))
    return found


def _inside(statement: ast.stmt) -> ast.stmt:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(statement, name, None)
        if body:
            setattr(statement, name, restored(body))
    for part in getattr(statement, "handlers", ()):
        part.body = restored(part.body)
    return statement


def _cases(
    statements: list[ast.stmt], subject: Subject
) -> tuple[list[ast.match_case], list[ast.stmt]]:
    """The cases that statements begin with, and the statements after them."""
    cases: list[ast.match_case] = []
    rest, keeps = statements, False
    while rest:
        first, found = rest[0], None
        if isinstance(first, ast.Assign) and first.value is subject:
            (target,) = first.targets
            assert isinstance(target, ast.Name)
            pattern = ast.MatchAs(None, target.id)
            return [*cases, ast.match_case(pattern, None, _body(rest[1:]))], []
        if isinstance(first, ast.If):
            found = head(first.test)
        if found is None or found.test.subject is not subject or not isinstance(first, ast.If):
            break
        cases.append(ast.match_case(found.test.pattern, found.guard, _body(first.body)))
        rest, keeps = rest[1:], found.test.keeps
        if first.orelse:
            more, left = _cases(first.orelse, subject)
            other = left[0] if left else None
            if keeps and not more and isinstance(other, ast.If) and _apart(other, left):
                more, left = [_guarded(other)], [*other.orelse, *left[1:]]
            return [*cases, *more, *_others(left)], rest
    other = rest[0] if rest else None
    if cases and keeps and isinstance(other, ast.If):
        return [*cases, _guarded(other), *_others(other.orelse)], rest[1:]
    if cases and keeps:
        return [*cases, *_others(rest)], []
    return cases, rest


def _apart(first: ast.If, statements: list[ast.stmt]) -> bool:
    """Whether what follows a condition is only for when it does not hold."""
    last = first.body[-1]
    return len(statements) == 1 or isinstance(
        last, ast.Return | ast.Raise | ast.Continue | ast.Break
    )


def _guarded(statement: ast.If) -> ast.match_case:
    """``case _`` with a guard, as it comes after a case that is not the last."""
    return ast.match_case(ast.MatchAs(None, None), statement.test, _body(statement.body))


def _others(statements: list[ast.stmt]) -> list[ast.match_case]:
    """``case _``, if there is anything to do."""
    if not statements:
        return []
    return [ast.match_case(ast.MatchAs(None, None), None, restored(statements))]


def _body(statements: list[ast.stmt]) -> list[ast.stmt]:
    return restored(statements) or [ast.Pass()]
