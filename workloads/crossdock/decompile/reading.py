"""Reads the instructions of one pattern; see ``patterns``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from crossdock.decompile.instructions import Instruction
from crossdock.decompile.patterns import (
    ANY,
    CLASS,
    JOINED,
    MAPPING,
    NAMELESS,
    OR,
    SEQUENCE,
    SINGLETON,
    VALUE,
    Expression,
    FromEnd,
    Item,
    Key,
    Keys,
    Length,
    Pattern,
    Rest,
    Test,
)

_STEPS_MAX = 20
"""For each instruction of the code: most begin no pattern, and few are read twice."""
ALTERNATIVES_MAX = 500
_TAIL_MAX = 12

_LOADS = frozenset(
    {"LOAD_CONST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF"}
)
STORES = frozenset({"STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL"})
_NEEDS: dict[str, Callable[[int], int]] = {
    **dict.fromkeys(_LOADS | {"BUILD_MAP"}, lambda _: 0),
    **dict.fromkeys(("LOAD_ATTR", "POP_TOP", "GET_LEN", "MATCH_SEQUENCE"), lambda _: 1),
    **dict.fromkeys(("MATCH_MAPPING", "UNPACK_SEQUENCE", "UNPACK_EX", *STORES), lambda _: 1),
    **dict.fromkeys(("POP_JUMP_IF_FALSE", "POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE"), lambda _: 1),
    **dict.fromkeys(("COMPARE_OP", "IS_OP", "BINARY_OP", "BINARY_SUBSCR"), lambda _: 2),
    **dict.fromkeys(("MATCH_KEYS", "COPY_DICT_WITHOUT_KEYS", "DELETE_SUBSCR"), lambda _: 2),
    **dict.fromkeys(("COPY", "SWAP", "BUILD_TUPLE"), lambda arg: arg),
    "MATCH_CLASS": lambda _: 3,
    "DICT_UPDATE": lambda arg: arg + 1,
}
"""The instructions of patterns, and how many values each takes or moves."""

Kind = TypeVar("Kind")


class NoPattern(Exception):
    """The instructions are not those of a pattern."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """A pattern; where it leads on, and where it fails to, -1 for nowhere.

    ``copies`` if it begins with a copy of its subject that no alternative takes: for a name, else
    for another case.
    """

    pattern: Pattern
    success: int
    fail: int
    copies: bool = False


class Reader:
    """Reads patterns of one code object: runs until the stack that the pattern owns is empty.

    `skip` leads past nothings and jumps.
    """

    def __init__(self, found: Sequence[Instruction], skip: Callable[[int], int]) -> None:
        self.found = found
        self.skip = skip
        self.steps_left = _STEPS_MAX * len(found)

    def read(self, start: int) -> Read:
        """The pattern that begins there, its subject on the stack. NoPattern if there is none."""
        root = Pattern()
        self.stack: list[Item] = [root]
        self.fails: list[tuple[int, int]] = []
        self.stored = self.copies = False
        self.start = self.skip(start)
        self.handler = self.found[start].handler
        success = self._run(start, 0)
        places = dict.fromkeys(place for place, _ in self.fails)
        if any(height for _, height in self.fails) or not self._all_same(list(places)):
            raise NoPattern
        root.finish()
        fail = next(iter(places), -1)
        return Read(pattern=root, success=success, fail=fail, copies=self.copies)

    def _run(self, at: int, floor: int) -> int:
        """Until nothing is left, or below `floor` is touched; returns where that is."""
        while self.stack or floor:
            self.steps_left -= 1
            at = self.skip(at)
            one = self.found[at]
            needs = _NEEDS.get(one.op)
            if needs is None or self.steps_left < 0:
                raise NoPattern
            left = len(self.stack) - needs(one.arg)
            if left < floor or (floor and one.op in STORES):  # all alternatives have the same names
                if floor:
                    return at
                raise NoPattern
            if one.handler != self.handler:
                raise NoPattern
            if one.op == "COPY" and one.arg == 1 and isinstance(self.stack[-1], Pattern):
                at = self._alternatives(at)
            else:
                self._step(one)
                at += 1
        return at

    def _step(self, one: Instruction) -> None:
        if one.op in _LOADS:
            if one.op == "LOAD_GLOBAL" and one.arg & 1:
                raise NoPattern
            self.stack.append(Expression(((one.op, one.arg, one.value),)))
        elif one.op in STORES:
            self._store(one)
        else:
            cast("Callable[[Instruction], None]", getattr(self, f"_{one.op.lower()}"))(one)

    def _pop(self, kind: type[Kind]) -> Kind:
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise NoPattern
        return value

    def _top(self, kind: type[Kind]) -> Kind:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise NoPattern
        return value

    def _alternatives(self, at: int) -> int:
        """``a | b``, or a copy that is kept for a name; returns where it goes on."""
        stack, outer = self.stack, self.fails
        height, place = len(stack), self._top(Pattern)
        found: list[Pattern] = []
        ends: list[int] = []
        captured: list[list[Item]] = []
        following = at
        while following >= 0:
            if len(found) > ALTERNATIVES_MAX:
                raise NoPattern
            alternative = Pattern()
            self.stack, self.fails = [*stack, alternative], []
            ends.append(self._run(following + 1, height))
            found.append(alternative)
            captured.append(self.stack[height:])
            following = self._next_alternative(height)
        last, self.stack, self.fails = self.fails, stack, outer
        if len(found) == 1:
            self.copies = self.copies or at == self.start
            stack.append(place)
            return at + 1
        if not self._all_same(ends):
            raise NoPattern
        self.fails += last
        place.kind, place.parts = OR, found
        for group in zip(*captured, strict=True) if len({*map(len, captured)}) == 1 else [()]:
            places = [one for one in group if isinstance(one, Pattern)]
            if len(places) != len(found):
                raise NoPattern
            stack.append(Pattern(kind=JOINED, parts=places))
        return ends[0]

    def _next_alternative(self, height: int) -> int:
        """Where the next one begins if the one that was read fails, -1 if it was the last."""
        places = {at for at, left in self.fails if left == height}
        if not places or any(left > height for _, left in self.fails):
            return -1
        (first, *more) = places
        one = self.found[first]
        if more or len(self.fails) != sum(left == height for _, left in self.fails):
            raise NoPattern
        if one.op != "COPY" or one.arg != 1:
            return -1
        return first

    def _all_same(self, places: list[int]) -> bool:
        return all(self._same(one, two) for one, two in itertools.pairwise(places))

    def _same(self, one: int, two: int) -> bool:
        """Whether two places are one, or copies of a piece of code that ends the function."""
        for _ in range(_TAIL_MAX):
            one, two = self.skip(one), self.skip(two)
            if one == two:
                return True
            mine, yours = self.found[one], self.found[two]
            if mine.target >= 0 or (mine.op, mine.arg) != (yours.op, yours.arg):
                return False
            if mine.op == "RETURN_VALUE":
                return True
            one, two = one + 1, two + 1
        return False

    def _fail(self, one: Instruction) -> None:
        """Follow what drops the values of the pattern."""
        if self.stored:  # names are bound when all is known
            raise NoPattern
        at, height = self.skip(one.target), len(self.stack)
        while height and self.found[at].op == "POP_TOP":
            height -= 1
            at = self.skip(at + 1)
        self.fails.append((at, height))

    def _store(self, one: Instruction) -> None:
        self.stored = True
        value, name = self.stack.pop(), str(one.value)
        if isinstance(value, Pattern):
            value.bind(one.op, name)
        elif isinstance(value, Rest) and value.of is not None:
            value.of.rest = (one.op, name)
        else:
            raise NoPattern

    def _load_attr(self, one: Instruction) -> None:
        steps = self._pop(Expression).steps
        self.stack.append(Expression((*steps, (one.op, one.arg, one.value))))

    def _pop_top(self, _: Instruction) -> None:
        value = self.stack.pop()
        if not isinstance(value, Pattern | Keys):
            raise NoPattern
        if isinstance(value, Keys) and value.values:
            value.expand()
        if isinstance(value, Pattern) and value.kind == ANY and any(value is x for x in self.stack):
            value.kind = NAMELESS

    def _copy(self, one: Instruction) -> None:
        self.stack.append(self.stack[-one.arg])

    def _swap(self, one: Instruction) -> None:
        stack = self.stack
        stack[-1], stack[-one.arg] = stack[-one.arg], stack[-1]

    def _compare_op(self, one: Instruction) -> None:
        right, left = self._pop(Expression), self.stack.pop()
        count = right.constant
        if isinstance(left, Pattern) and one.value == "==":
            self.stack.append(Test(left, {"kind": VALUE, "value": right.steps}))
        elif isinstance(left, Length) and isinstance(count, int) and one.value in {"==", ">="}:
            told: dict[str, object] = (
                {} if left.of.kind == MAPPING else {"length": (one.value, count)}
            )
            self.stack.append(Test(left.of, told))
        else:
            raise NoPattern

    def _is_op(self, one: Instruction) -> None:
        right, left = self._pop(Expression), self.stack.pop()
        if isinstance(left, Pattern) and not one.arg:
            self.stack.append(Test(left, {"kind": SINGLETON, "value": right.steps}))
        elif isinstance(left, Keys) and one.arg and right.constant is None:
            self.stack.append(Test(left.of, {}))
        else:
            raise NoPattern

    def _pop_jump_if_false(self, one: Instruction) -> None:
        test = self._pop(Test)
        self._fail(one)
        for name, value in test.told.items():
            setattr(test.of, name, value)

    def _pop_jump_if_not_none(self, one: Instruction) -> None:
        place = self._pop(Pattern)
        self._fail(one)
        place.kind, place.value = SINGLETON, (("LOAD_CONST", 0, None),)

    def _pop_jump_if_none(self, one: Instruction) -> None:
        self._pop(Keys)
        self._fail(one)

    def _match_sequence(self, _: Instruction) -> None:
        self.stack.append(Test(self._top(Pattern), {"kind": SEQUENCE}))

    def _match_mapping(self, _: Instruction) -> None:
        self.stack.append(Test(self._top(Pattern), {"kind": MAPPING}))

    def _get_len(self, _: Instruction) -> None:
        self.stack.append(Length(self._top(Pattern)))

    def _binary_op(self, one: Instruction) -> None:
        distance, length = self._pop(Expression).constant, self._pop(Length)
        if one.value != "-" or not isinstance(distance, int):
            raise NoPattern
        self.stack.append(FromEnd(length.of, distance))

    def _binary_subscr(self, _: Instruction) -> None:
        key, owner = self.stack.pop(), self.stack.pop()
        index = -key.distance if isinstance(key, FromEnd) else None
        if isinstance(key, Expression) and isinstance(key.constant, int):
            index = key.constant
        if index is None:
            raise NoPattern
        if isinstance(owner, Pattern):
            self.stack.append(owner.item(index))
        elif isinstance(owner, Keys) and owner.values and 0 <= index < owner.count:
            owner.expand()
            self.stack.append(owner.of.parts[index])
        else:
            raise NoPattern

    def _unpack_sequence(self, one: Instruction) -> None:
        value = self.stack.pop()
        if isinstance(value, Keys) and not value.values:
            self.stack += [Key() for _ in range(one.arg)]
        elif isinstance(value, Keys):
            self._parts(value.of, one.arg)
        elif isinstance(value, Pattern) and value.kind == SEQUENCE:
            self._parts(value, one.arg)
        else:
            raise NoPattern

    def _unpack_ex(self, one: Instruction) -> None:
        place = self._pop(Pattern)
        place.star = one.arg & 255
        self._parts(place, place.star + 1 + (one.arg >> 8))

    def _parts(self, place: Pattern, count: int) -> None:
        place.parts = [Pattern() for _ in range(count)]
        self.stack += place.parts[::-1]

    def _build_tuple(self, one: Instruction) -> None:
        parts = [self._pop(Expression) for _ in range(one.arg)][::-1]
        place = self._top(Pattern)
        place.keys = tuple(part.steps for part in parts)
        self.stack.append(Keys(place, one.arg))

    def _match_keys(self, _: Instruction) -> None:
        if isinstance(self.stack[-1], Expression):
            keys = self._pop(Expression).constant
            place = self._top(Pattern)
            if not isinstance(keys, tuple):
                raise NoPattern
            place.keys = tuple((("LOAD_CONST", 0, key),) for key in keys)
            self.stack.append(Keys(place, len(keys)))
        asked = self._top(Keys)
        self.stack.append(Keys(asked.of, asked.count, values=True))

    def _match_class(self, one: Instruction) -> None:
        names, type_ = self._pop(Expression).constant, self._pop(Expression)
        place = self._pop(Pattern)
        if not isinstance(names, tuple):
            raise NoPattern
        place.kind, place.value, place.names = CLASS, type_.steps, names
        self.stack.append(Keys(place, one.arg + len(names), values=True))

    def _build_map(self, one: Instruction) -> None:
        if one.arg:
            raise NoPattern
        self.stack.append(Rest())

    def _dict_update(self, one: Instruction) -> None:
        place = self._pop(Pattern)
        rest = self.stack[-one.arg]
        if not isinstance(rest, Rest):
            raise NoPattern
        rest.of = place

    def _copy_dict_without_keys(self, _: Instruction) -> None:
        asked, place = self._pop(Keys), self._top(Pattern)
        if asked.values or asked.of is not place:
            raise NoPattern
        self.stack.append(Rest(place))

    def _delete_subscr(self, _: Instruction) -> None:
        self._pop(Key)
        self._pop(Rest)
