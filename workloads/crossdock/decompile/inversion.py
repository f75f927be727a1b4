"""Loops whose test the compiler wrote twice: before the first turn and after each."""

from __future__ import annotations

import ast

from crossdock.decompile.marks import Shared, same
from crossdock.decompile.symbolic import Execution
from crossdock.decompile.work import NEXT, TEST, Work, Works


def merge_tests(execution: Execution) -> None:
    """Let the end of each turn go to the test before the first turn, where they are alike."""
    works = execution.works
    for header in list(execution.headers):
        numbers = dict.fromkeys(works.incoming[header])
        sources = [works.all[one] for one in numbers if one in works.all]
        tests = [one for one in sources if one.kind == TEST]
        place = execution.place.get(header, 0)
        first = [one for one in tests if execution.place[one.number] < place]
        again = [one for one in tests if execution.place[one.number] >= place]
        for one in first:
            for two in again:
                if two.number in works.all and one.number in works.all and _alike(one, two):
                    _merge(works, execution, one, two)


def _alike(one: Work, two: Work) -> bool:
    return (
        one.successors == two.successors
        and one.region == two.region
        and one.test is not None
        and two.test is not None
        and same(one.test, two.test)
    )


def _merge(works: Works, execution: Execution, one: Work, two: Work) -> None:
    pairs = [(one, two)]
    alike = {one.number: two.number}
    while one.is_pure() and two.is_pure():
        before, again = _only_test(works, one), _only_test(works, two)
        if before is None or again is None or before.region != again.region:
            break
        if before.test is None or again.test is None or not same(before.test, again.test):
            break
        places = [alike.get(number, number) for number in before.successors]
        if places != again.successors:
            break
        one, two = before, again
        pairs.append((one, two))
        alike[one.number] = two.number
    head = _split(works, execution, one)
    tail = _split(works, execution, two)
    for number in list(works.incoming[tail.number]):
        source = works.all[number]
        targets = [head.number if to == tail.number else to for to in source.successors]
        works.relink(source, targets)
    works.remove(tail)
    for _, other in pairs:
        _forget(other)
        if other.number in works.all and other is not two and not works.incoming[other.number]:
            works.remove(other)


def _forget(work: Work) -> None:
    """Values that a test kept for the next are not asked for any more."""
    for node in ast.walk(work.test) if work.test is not None else ():
        if isinstance(node, Shared):
            node.settled = True


def _only_test(works: Works, work: Work) -> Work | None:
    """The test that alone leads to a block."""
    sources = works.incoming[work.number]
    found = works.all.get(sources[0]) if len(sources) == 1 else None
    return found if found is not None and found.kind == TEST else None


def _split(works: Works, execution: Execution, work: Work) -> Work:
    """The test of a block as a block of its own."""
    if work.is_pure():
        return work
    test = Work(works.new_number(), work.region, TEST, test=work.test, before=work.before)
    test.stack, test.chain_branch = work.stack, work.chain_branch
    works.add(test)
    targets = work.successors
    works.relink(work, [])
    works.relink(test, targets)
    work.kind, work.test, work.chain_branch = NEXT, None, -1
    works.relink(work, [test.number])
    execution.place[test.number] = execution.place[work.number]
    return test
