"""The stack of one block, with how each value on it is computed, which may still be to come."""

from __future__ import annotations

import copy
import dis
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from torch._dynamo.bytecode_transformation import Instruction, create_instruction

from crossdock.decompile.dynamo.blocks import JUMPS, LEAVES

_INPLACE = 13
"""The first operator of BINARY_OP that assigns in place."""

_EXPRESSIONS: dict[str, Callable[[int], int]] = {
    "LOAD_CONST": lambda _: 0,
    "LOAD_FAST": lambda _: 0,
    "LOAD_GLOBAL": lambda _: 0,
    "LOAD_NAME": lambda _: 0,
    "LOAD_DEREF": lambda _: 0,
    "LOAD_CLASSDEREF": lambda _: 0,
    "LOAD_CLOSURE": lambda _: 0,
    "LOAD_ASSERTION_ERROR": lambda _: 0,
    "LOAD_ATTR": lambda _: 1,
    "UNARY_POSITIVE": lambda _: 1,
    "UNARY_NEGATIVE": lambda _: 1,
    "UNARY_NOT": lambda _: 1,
    "UNARY_INVERT": lambda _: 1,
    "LIST_TO_TUPLE": lambda _: 1,
    "GET_ITER": lambda _: 1,
    "BINARY_SUBSCR": lambda _: 2,
    "COMPARE_OP": lambda _: 2,
    "CONTAINS_OP": lambda _: 2,
    "IS_OP": lambda _: 2,
    "BUILD_TUPLE": lambda count: count,
    "BUILD_LIST": lambda count: count,
    "BUILD_SET": lambda count: count,
    "BUILD_STRING": lambda count: count,
    "BUILD_SLICE": lambda count: count,
    "BUILD_MAP": lambda count: 2 * count,
    "BUILD_CONST_KEY_MAP": lambda count: count + 1,
    "FORMAT_VALUE": lambda flags: 1 + bool(flags & 4),
    "MAKE_FUNCTION": lambda flags: 1 + (flags & 15).bit_count(),
    "CALL_FUNCTION_EX": lambda flags: 3 + (flags & 1),
}
"""How many values an instruction takes that leaves one and has no other effect on variables."""

_STATEMENTS: dict[str, Callable[[int], int]] = {
    "STORE_FAST": lambda _: 1,
    "STORE_GLOBAL": lambda _: 1,
    "STORE_NAME": lambda _: 1,
    "STORE_DEREF": lambda _: 1,
    "STORE_ATTR": lambda _: 2,
    "STORE_SUBSCR": lambda _: 3,
    "DELETE_FAST": lambda _: 0,
    "DELETE_GLOBAL": lambda _: 0,
    "DELETE_NAME": lambda _: 0,
    "DELETE_DEREF": lambda _: 0,
    "DELETE_ATTR": lambda _: 1,
    "DELETE_SUBSCR": lambda _: 2,
    "RETURN_VALUE": lambda _: 1,
    "RAISE_VARARGS": lambda count: count,
}
"""How many values an instruction takes that leaves none."""

_MOVES = frozenset({"LOAD_METHOD", "COPY", "SWAP", "POP_TOP", "UNPACK_SEQUENCE", "BINARY_OP"})

_EXTENSIONS = {
    "LIST_APPEND": "append",
    "LIST_EXTEND": "extend",
    "SET_ADD": "add",
    "SET_UPDATE": "update",
    "DICT_UPDATE": "update",
    "DICT_MERGE": "",
}
"""Instructions that add to a list, set or dictionary on the stack, and the methods that do it."""

_FOLDED = frozenset({"BUILD_TUPLE", "BUILD_LIST", "BUILD_SET"})
_FOLDED_MIN = 3
"""Constants from which on the compiler writes a list or set of them as one constant."""

_DISPLAYS = frozenset({*_EXTENSIONS, "BUILD_LIST", "BUILD_SET", "BUILD_MAP"})


def _place(one: Instruction) -> int:
    """How deep the value lies that an instruction moves, from the top on."""
    return one.arg or 1 if one.opname in {"COPY", "SWAP"} else 1


Kind = Literal["resident", "null", "constant", "variable", "waiting"]


@dataclass
class Entry:
    """A value.

    ``resident`` ones lie on the stack already, at its bottom; ``null`` is what precedes a callable;
    a ``variable`` holds the value; a ``waiting`` one is computed by ``code`` when it is wanted.
    """

    kind: Kind
    code: list[Instruction] = field(default_factory=list)
    name: str = ""


class Stack:
    """Runs instructions and writes others, in ``out``, that do the same."""

    def __init__(self, entries: list[Entry], fresh: Callable[[], str]) -> None:
        self.out: list[Instruction] = []
        self.entries = entries
        self._fresh = fresh
        self._uses: Counter[str] = Counter()
        self._prefix: list[Instruction] = []
        for entry in entries:
            self._count(entry, 1)

    def run(self, one: Instruction) -> None:
        """One more instruction."""
        name, argument = one.opname, one.arg or 0
        if name in {"KW_NAMES", "PRECALL"}:
            self._prefix.append(one)
        elif name == "NOP":
            self.out.append(one)
        elif name == "PUSH_NULL":
            self.entries.append(Entry("null"))
        elif name == "CALL" and self._held(argument + 2):
            self._call(one, argument)
        elif name in _EXPRESSIONS and self._held(_EXPRESSIONS[name](argument)):
            self._expression(one, _EXPRESSIONS[name](argument))
        elif name in _STATEMENTS and self._held(_STATEMENTS[name](argument)):
            self._statement([one], _STATEMENTS[name](argument))
        elif name in _EXTENSIONS and self._has(argument + 1):
            self._extend(one, argument)
        elif not (name in _MOVES and self._has(_place(one)) and self._move(one, argument)):
            self._raw(one)

    def _move(self, one: Instruction, argument: int) -> bool:
        """An instruction for which the values need not be computed yet; gives whether it is one."""
        if one.opname == "LOAD_METHOD":
            attribute = create_instruction("LOAD_ATTR", argval=one.argval)
            self._with_null(attribute, 1)
        elif one.opname == "COPY":
            self._copy(argument)
        elif one.opname == "SWAP":
            self._swap(argument)
        elif one.opname == "POP_TOP":
            self._drop(one)
        elif one.opname == "UNPACK_SEQUENCE":
            self._unpack(one, argument)
        elif one.opname == "BINARY_OP" and argument < _INPLACE and self._held(2):
            self._expression(one, 2)
        else:
            return False
        return True

    def settle(self) -> None:
        """Put all that waits on the stack, where it was."""
        for entry in self.entries:
            self._emit(self._instructions(entry))
        self.entries = [Entry("resident") for _ in self.entries]

    def branch(self, one: Instruction) -> None:
        """A jump that takes one value, where both ways go on with variables for the others."""
        self._spill(len(self.entries) - 1)
        self._emit([*self._take(1), one])

    def spill(self) -> None:
        """Compute all that waits."""
        self._spill(len(self.entries))

    def _raw(self, one: Instruction) -> None:
        """An instruction that needs the stack as it was."""
        prefix, self._prefix = self._prefix, []
        self.settle()
        self._emit([*prefix, one])
        argument = one.arg if one.opcode >= dis.HAVE_ARGUMENT else None
        if one.opname not in LEAVES | JUMPS:
            height = len(self.entries) + dis.stack_effect(one.opcode, argument, jump=False)
            height += sum(dis.stack_effect(two.opcode, two.arg, jump=False) for two in prefix)
            self.entries = [Entry("resident") for _ in range(height)]

    def _has(self, place: int) -> bool:
        """Whether the value at this place from the top can be moved."""
        return 0 < place <= len(self.entries) and all(
            entry.kind != "resident" for entry in (self.entries[-place], self.entries[-1])
        )

    def _held(self, count: int) -> bool:
        return count <= len(self.entries)

    def _extend(self, one: Instruction, place: int) -> None:
        """A display goes on being written; what is one no more has a method for it."""
        target = self.entries[-place - 1]
        if place == 1 and target.kind == "waiting" and target.code[-1].opname in _DISPLAYS:
            self._expression(one, 2)
            return
        method = _EXTENSIONS[one.opname]
        self._spill(len(self.entries) - place)
        if not method or target.kind != "variable":
            self._raw(one)
            return
        added = self.entries.pop()
        self._uses[target.name] += 1
        owner = create_instruction("LOAD_FAST", argval=target.name)
        called = create_instruction("LOAD_METHOD", argval=method)
        self.entries += [Entry("waiting", [owner, called]), Entry("waiting"), added]
        self._call(create_instruction("CALL", arg=1), 1)
        self._drop(create_instruction("POP_TOP"))

    def _take(self, count: int) -> list[Instruction]:
        """What computes the topmost values, in order; they leave the stack."""
        taken = self.entries[len(self.entries) - count :]
        del self.entries[len(self.entries) - count :]
        return [one for entry in taken for one in self._instructions(entry)]

    def _expression(self, one: Instruction, count: int) -> None:
        if one.opname == "LOAD_GLOBAL" and (one.arg or 0) & 1:
            self._with_null(create_instruction("LOAD_GLOBAL", arg=0, argval=one.argval), count)
            return
        if one.opname in _FOLDED and self._fold(one, count):
            return
        if one.opname == "BUILD_MAP" and count > 2:
            one = self._with_constant_keys(one, count // 2)
            count = _EXPRESSIONS[one.opname](one.arg or 0)
        kind: Kind = "constant" if one.opname in {"LOAD_CONST", "LOAD_CLOSURE"} else "waiting"
        if one.opname == "BUILD_SLICE":  # in source it stands within brackets only, wherever it is
            if any(entry.kind not in {"constant", "variable"} for entry in self.entries[-count:]):
                self._spill(len(self.entries))
            kind = "constant"
        code = [two for entry in self.entries[-count:] for two in self._instructions(entry)]
        if count:
            del self.entries[-count:]
        self.entries.append(Entry(kind, [*(code if count else []), one]))

    def _fold(self, one: Instruction, count: int) -> bool:
        """A display of constants as the compiler writes it; gives whether it is one."""
        parts = self.entries[len(self.entries) - count :]
        if any(len(part.code) != 1 or part.code[0].opname != "LOAD_CONST" for part in parts):
            return False
        if one.opname != "BUILD_TUPLE" and count < _FOLDED_MIN:
            return False
        values = tuple(part.code[0].argval for part in parts)
        del self.entries[len(self.entries) - count :]
        whole = frozenset(values) if one.opname == "BUILD_SET" else values
        load = create_instruction("LOAD_CONST", argval=whole)
        if one.opname == "BUILD_TUPLE":
            self.entries.append(Entry("constant", [load]))
            return True
        extend = "SET_UPDATE" if one.opname == "BUILD_SET" else "LIST_EXTEND"
        begun = create_instruction(one.opname, arg=0)
        self.entries.append(Entry("waiting", [begun, load, create_instruction(extend, arg=1)]))
        return True

    def _with_constant_keys(self, one: Instruction, count: int) -> Instruction:
        """A dictionary with constants as keys as the compiler writes it."""
        pairs = self.entries[-2 * count :]
        keys = [entry.code[0] for entry in pairs[::2] if entry.kind == "constant"]
        if len(keys) < count or any(key.opname != "LOAD_CONST" for key in keys):
            return one
        load = create_instruction("LOAD_CONST", argval=tuple(key.argval for key in keys))
        self.entries[-2 * count :] = [*pairs[1::2], Entry("constant", [load])]
        return create_instruction("BUILD_CONST_KEY_MAP", arg=count)

    def _with_null(self, one: Instruction, count: int) -> None:
        code = [*self._take(count), one]
        self.entries += [Entry("null"), Entry("waiting", code)]

    def _call(self, one: Instruction, count: int) -> None:
        below = self.entries[len(self.entries) - count - 2 :][:2]
        if below[0].kind == "null" and below[1].kind == "waiting":
            last = below[1].code[-1]
            if last.opname == "LOAD_ATTR":  # as the compiler writes calls of methods
                method = create_instruction("LOAD_METHOD", argval=last.argval)
                below[0].kind, below[0].code = "waiting", [*below[1].code[:-1], method]
                below[1].code = []
        prefix, self._prefix = self._prefix, []
        if not prefix:
            prefix = [create_instruction("PRECALL", arg=count)]
        code = [*self._take(count + 2), *prefix, one]
        self.entries.append(Entry("waiting", code))

    def _statement(self, instructions: list[Instruction], count: int) -> None:
        """An instruction that does something: all that waits below it is computed before."""
        self._spill(len(self.entries) - count)
        self._emit([*self._take(count), *instructions])
        if instructions[-1].opname not in LEAVES:
            self._release()

    def _spill(self, count: int) -> None:
        """Give variables to what waits among so many of the lowest values."""
        for entry in self.entries[:count]:
            if entry.kind == "waiting":
                name = self._fresh()
                self._emit([*entry.code, create_instruction("STORE_FAST", argval=name)])
                entry.kind, entry.code, entry.name = "variable", [], name
                self._count(entry, 1)

    def _copy(self, place: int) -> None:
        at = len(self.entries) - place
        self._spill(at + 1)
        entry = self.entries[at]
        self.entries.append(Entry(entry.kind, [copy.copy(one) for one in entry.code], entry.name))
        self._count(self.entries[-1], 1)
        self._release()

    def _swap(self, place: int) -> None:
        at = len(self.entries) - place
        if place > 1 and any(self.entries[i].kind == "waiting" for i in range(at, at + place)):
            self._spill(len(self.entries))
        self.entries[at], self.entries[-1] = self.entries[-1], self.entries[at]

    def _drop(self, one: Instruction) -> None:
        entry = self.entries[-1]
        if entry.kind == "waiting":
            self._statement([one], 1)
            return
        self._count(self.entries.pop(), -1)
        self._release()

    def _count(self, entry: Entry, by: int) -> None:
        """Count the uses of variables that the value stands for, or is made of."""
        if entry.kind == "variable":
            self._uses[entry.name] += by
        elif entry.kind == "constant":
            for one in entry.code:
                if one.opname == "LOAD_FAST":
                    self._uses[one.argval] += by

    def _unpack(self, one: Instruction, count: int) -> None:
        names = [self._fresh() for _ in range(count)]
        stores = [create_instruction("STORE_FAST", argval=name) for name in names]
        self._statement([one, *stores], 1)
        self.entries += [Entry("variable", name=name) for name in reversed(names)]
        self._uses.update(names)

    def _instructions(self, entry: Entry) -> list[Instruction]:
        if entry.kind == "null":
            return [create_instruction("PUSH_NULL")]
        if entry.kind == "variable":
            return [create_instruction("LOAD_FAST", argval=entry.name)]
        return entry.code

    def _emit(self, instructions: Iterable[Instruction]) -> None:
        for one in instructions:
            if one.opname == "LOAD_FAST" and one.argval in self._uses:
                self._uses[one.argval] -= 1
            before = self.out[-1] if self.out else None
            if one.opname == "LOAD_GLOBAL" and before is not None and before.opname == "PUSH_NULL":
                one = create_instruction("LOAD_GLOBAL", arg=1, argval=one.argval)
                self.out[-1] = one
            else:
                self.out.append(one)

    def _release(self) -> None:
        """Unbind the variables that nothing on the stack needs any more, as the stack would."""
        for name in [name for name, uses in self._uses.items() if uses <= 0]:
            del self._uses[name]
            self.out.append(create_instruction("DELETE_FAST", argval=name))
