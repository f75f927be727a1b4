"""``match`` statements: each pattern taken together as one instruction that branches.

``MATCH_CASE`` tests the top of the stack, binds the names of its pattern, and jumps where that does
not match. With an argument of 1 it leaves the subject there, for the next case, else it takes it.
Newer compilers leave nothing of ``_`` but its guard: then one is put in.
"""

from __future__ import annotations

from dataclasses import replace

from crossdock.decompile.flow import MATCH_CASE, TESTS, Flow
from crossdock.decompile.patterns import Pattern
from crossdock.decompile.reading import STORES, NoPattern, Read, Reader

CASES_MAX = 10_000
_GUARD_STEPS_MAX = 500
_OF_GROUPS = frozenset({"PREP_RERAISE_STAR", "CHECK_EG_MATCH"})
"""After these, a copy is not of a subject."""
_DOTTED = frozenset({"LOAD_ATTR"})


def matched(flow: Flow) -> Flow:
    """The flow, with its patterns taken together."""
    found = flow.instructions
    reader = Reader(found, flow.skip)
    for index, one in enumerate(found):
        if flow.shapes[index] is None:
            continue
        if one.op == "COPY" and one.arg == 1:
            if not index or found[index - 1].op not in _OF_GROUPS:
                _take_cases(flow, reader, index)
        elif one.op in {"MATCH_SEQUENCE", "MATCH_MAPPING"}:
            _take_cases(flow, reader, index)
        elif one.op == "MATCH_CLASS":
            _take_cases(flow, reader, _class_begins(flow, index))
    flow.find_shapes()
    return flow


def _class_begins(flow: Flow, index: int) -> int:
    """Where the name of the class is loaded: before the names of its attributes."""
    at = index - 2
    while at > 0 and flow.instructions[at].op in _DOTTED:
        at -= 1
    return max(at, 0)


def _take_cases(flow: Flow, reader: Reader, at: int) -> None:
    """All cases from one on, each where the one before fails to."""
    comes_after = False
    for _ in range(CASES_MAX):
        at = flow.skip(at)
        one = flow.instructions[at]
        last = _read(reader, at)
        if last is not None and last.fail >= 0 and (last.pattern.bound or not last.copies):
            _take(flow, at, last, keeps=False)
            return
        kept = _read(reader, at + 1) if one.op == "COPY" and one.arg == 1 else None
        if kept is None and comes_after:
            kept = _put_in(flow, reader, at)
        if kept is None:
            return
        if kept.fail < 0:
            kept = replace(kept, fail=_guard_fails(flow, reader, kept.success))
        if kept.fail < 0:
            return
        _take(flow, at, kept, keeps=True)
        at, comes_after = kept.fail, True


def _put_in(flow: Flow, reader: Reader, at: int) -> Read | None:
    """``case _`` before its guard, if that begins there."""
    if _guard_fails(flow, reader, at) < 0:
        return None
    flow.insert(at, replace(flow.instructions[at], op="NOP", target=-1))
    return Read(pattern=Pattern(), success=at + 1, fail=-1)


def _read(reader: Reader, at: int) -> Read | None:
    try:
        return reader.read(at)
    except (NoPattern, IndexError):  # the code ends amid a pattern
        return None


def _take(flow: Flow, at: int, read: Read, *, keeps: bool) -> None:
    first, second = flow.instructions[at], flow.instructions[at + 1]
    first.op, first.arg, first.value = MATCH_CASE, int(keeps), read.pattern
    first.target = read.fail
    if read.success != at + 1:  # as it is after a mere POP_JUMP_IF_NOT_NONE
        second.op, second.arg, second.value, second.target = "JUMP", 0, None, read.success


def _guard_fails(flow: Flow, reader: Reader, success: int) -> int:
    """Where a guard leads that does not hold, for a pattern that always matches; -1 for no guard.

    There the subject is taken by the next case; where the guard holds, it is dropped.
    """
    shape = flow.shapes[success]
    height = len(shape or ())
    todo, seen = [flow.skip(success)], set[int]()
    fails, drops, tests = set[int](), set[int](), 0
    while todo:
        at = todo.pop()
        here = flow.shapes[at]
        if at in seen:
            continue
        if here is None or len(here) < height or len(seen) > _GUARD_STEPS_MAX:
            return -1
        seen.add(at)
        one = flow.instructions[at]
        if len(here) == height and one.op == "POP_TOP":
            drops.add(at)
        elif len(here) == height and (one.op == "COPY" or one.op in STORES or _begins(reader, at)):
            fails.add(at)
        else:
            tests += one.op in TESTS
            todo += [flow.skip(following) for following in flow.successors(at)]
    if len(drops) == 2 and not fails:  # the next case is `_`, and lies behind
        fails.add(max(drops))
        drops -= fails
    elif len(drops) > 1:  # the next case is `_` too, and begins with its guard
        body = min(drops)
        guard = {one for one in seen if one < body}
        fails = {flow.skip(to) for one in guard for to in flow.successors(one)} - guard - {body}
        drops = {body}
    return fails.pop() if len(fails) == 1 and len(drops) == 1 and tests else -1


def _begins(reader: Reader, at: int) -> bool:
    """Whether the last case begins there."""
    read = _read(reader, at)
    return read is not None and read.fail >= 0


__all__ = ["Pattern", "matched"]
