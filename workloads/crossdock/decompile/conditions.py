"""Branches put together to the expressions that they were compiled from.

Rules look at one block and at those that only it leads to: ``and``, ``or``, ``a if b else c``,
chains of comparisons; as conditions, and as values that meet on the stack.
"""

from __future__ import annotations

import ast

from crossdock.decompile.errors import Unstructured
from crossdock.decompile.marks import Matched, Matches, Shared, same
from crossdock.decompile.work import END, NEXT, TEST, Work, Works


def negated(test: ast.expr) -> ast.expr:
    """The opposite condition."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        opposite = _OPPOSITE.get(type(test.ops[0]))
        if opposite is not None:
            return ast.Compare(test.left, [opposite()], test.comparators)
    return ast.UnaryOp(ast.Not(), test)


_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


class Conditions:
    """The rules, on blocks that change."""

    def __init__(self, works: Works) -> None:
        self.works = works

    def combine(self, work: Work) -> bool:
        """Take one block into `work`, or two; False if no rule fits."""
        if work.kind != TEST or work.test is None or isinstance(work.test, Matches):
            return False
        yes, no = (self._own(work, successor) for successor in work.successors)
        if isinstance(work.test, Matched):  # with its guard
            return yes is not None and yes.kind == TEST and self._tests(work, yes, True)
        if _is_link(work.test):  # of a chain: its beginning comes first
            first = work.test
            yes, no = (
                one if one and one.test and _chained(first, one.test) else None for one in (yes, no)
            )
        if yes is not None and yes.kind == TEST and self._tests(work, yes, True):
            return True
        if no is not None and no.kind == TEST and self._tests(work, no, False):
            return True
        if self._choice_of_tests(work, yes, no) or self._choice(work, yes, no):
            return True
        if yes is not None and self._value(work, yes, True):
            return True
        return no is not None and self._value(work, no, False)

    def _own(self, work: Work, number: int) -> Work | None:
        """The block, if only `work` leads there and it computes no more than a value."""
        found = self.works.all.get(number)
        if found is None or found is work or not self.works.only_from(number, work):
            return None
        if isinstance(found.test, Matches | Matched) or found.region != work.region:
            return None
        return found if found.is_pure() else None

    def _tests(self, work: Work, second: Work, when: bool) -> bool:
        """``and``, ``or``; `second` is tested when `work` is `when`."""
        here = 0 if when else 1
        if work.keeps[here] or work.test is None or second.test is None:
            return False
        mine, keeps = work.successors[1 - here], work.keeps[1 - here]
        join: type[ast.boolop] = ast.And if when else ast.Or
        ends = second.successors[1 - here] == mine
        if second.keeps[1 - here] == keeps and (ends or self._fail_alike(work, second, here)):
            return self._take(work, second, _joined(join, work.test, second.test))
        if second.successors[here] == mine and not keeps and not second.keeps[here]:
            if _chained(work.test, second.test):
                return False
            join = ast.Or if when else ast.And
            return self._take(work, second, _joined(join, negated(work.test), second.test))
        return False

    def _fail_alike(self, work: Work, second: Work, here: int) -> bool:
        """Whether both comparisons of a chain end the function in the same way if they fail.

        The compiler copies a short end, one of which drops the value for the next comparison.
        """
        if work.test is None or second.test is None or not _chained(work.test, second.test):
            return False
        mine = self.works.all.get(work.successors[1 - here])
        yours = self.works.all.get(second.successors[1 - here])
        if mine is None or yours is None or mine.kind != END or yours.kind != END:
            return False
        if not same(mine.statements, yours.statements) or mine.region != yours.region:
            return False
        ends = [yours.number if one == mine.number else one for one in work.successors]
        self.works.relink(work, ends)
        if not self.works.incoming[mine.number]:
            self.works.remove(mine)
        return True

    def _take(self, work: Work, second: Work, test: ast.expr) -> bool:
        successors = list(second.successors)
        self.works.remove(second)
        self.works.relink(work, successors)
        work.test, work.keeps, work.stack = test, second.keeps, second.stack
        work.chain_branch = second.chain_branch
        return True

    def _choice_of_tests(self, work: Work, yes: Work | None, no: Work | None) -> bool:
        """``if (a if b else c)``."""
        if yes is None or no is None:
            return False
        if yes.kind != TEST or no.kind != TEST or yes.test is None or no.test is None:
            return False
        if yes.successors != no.successors or yes.keeps != no.keeps or any(work.keeps):
            return False
        if work.test is None or yes is no:
            return False
        test = ast.IfExp(work.test, yes.test, no.test)
        self.works.remove(no)
        return self._take(work, yes, test)

    def _choice(self, work: Work, yes: Work | None, no: Work | None) -> bool:
        """``a if b else c``."""
        if yes is None or no is None or work.test is None:
            return False
        if not (_is_value(work, yes) and _is_value(work, no)):
            return False
        if yes.successors != no.successors or any(work.keeps):
            return False
        value = ast.IfExp(work.test, yes.stack[-1], no.stack[-1])
        self.works.remove(no)
        return self._give(work, yes, value)

    def _value(self, work: Work, second: Work, when: bool) -> bool:
        """``a and b`` or ``a or b`` whose value is used."""
        here = 0 if when else 1
        if not _is_value(work, second) or not work.keeps[1 - here] or work.test is None:
            return False
        if second.successors != [work.successors[1 - here]]:
            return False
        join: type[ast.boolop] = ast.And if when else ast.Or
        return self._give(work, second, _joined(join, work.test, second.stack[-1]))

    def _give(self, work: Work, second: Work, value: ast.expr) -> bool:
        value.lineno = getattr(work.test, "lineno", 0)
        successors, stack = list(second.successors), [*second.stack[:-1], value]
        self.works.remove(second)
        self.works.relink(work, successors)
        work.kind, work.test, work.keeps = NEXT, None, (False, False)
        work.stack, work.chain_branch = stack, -1
        return True


def _is_value(work: Work, part: Work) -> bool:
    """Whether a block leaves one value more than it found, instead of what a chain kept."""
    if part.kind != NEXT or not part.stack or len(part.successors) != 1:
        return False
    kept = work.test is not None and _chained(work.test, part.stack[-1])
    return len(part.stack) == len(work.stack) + (0 if kept else 1)


def _is_link(test: ast.expr) -> bool:
    """Whether a comparison goes on with the value that another ended with."""
    return isinstance(test, ast.Compare) and isinstance(test.left, Shared) and not test.left.settled


def _chained(first: ast.expr, second: ast.expr) -> bool:
    """Whether the second comparison begins with the value that the first ends with."""
    if not isinstance(first, ast.Compare) or not isinstance(second, ast.Compare):
        return False
    return isinstance(second.left, Shared) and first.comparators[-1] is second.left


def _joined(join: type[ast.boolop], first: ast.expr, second: ast.expr) -> ast.expr:
    if join is ast.And and _chained(first, second):
        return _chain(first, second)
    values = [first, second]
    if isinstance(first, ast.BoolOp) and isinstance(first.op, join):
        values[:1] = first.values
    if isinstance(second, ast.BoolOp) and isinstance(second.op, join):
        values[-1:] = second.values
    return ast.BoolOp(join(), values)


def _chain(first: ast.expr, second: ast.expr) -> ast.expr:
    if (
        not isinstance(first, ast.Compare)
        or not isinstance(second, ast.Compare)
        or not isinstance(second.left, Shared)
    ):
        raise Unstructured("a comparison is chained to what is none")
    middle = [*first.comparators[:-1], second.left.named()]
    return ast.Compare(first.left, first.ops + second.ops, middle + second.comparators)
