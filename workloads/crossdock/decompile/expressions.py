"""Instructions that compute values from values."""

from __future__ import annotations

import ast
from typing import ClassVar, TypeVar

from crossdock.decompile import marks
from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase
from crossdock.decompile.marks import Added, Shared

BINARY: dict[str, type[ast.operator]] = {
    "+": ast.Add,
    "&": ast.BitAnd,
    "//": ast.FloorDiv,
    "<<": ast.LShift,
    "@": ast.MatMult,
    "*": ast.Mult,
    "%": ast.Mod,
    "|": ast.BitOr,
    "**": ast.Pow,
    ">>": ast.RShift,
    "-": ast.Sub,
    "/": ast.Div,
    "^": ast.BitXor,
}
COMPARE: dict[str, type[ast.cmpop]] = {
    "<": ast.Lt,
    "<=": ast.LtE,
    "==": ast.Eq,
    "!=": ast.NotEq,
    ">": ast.Gt,
    ">=": ast.GtE,
}
_UNARY: dict[str, type[ast.unaryop]] = {
    "UNARY_POSITIVE": ast.UAdd,
    "UNARY_NEGATIVE": ast.USub,
    "UNARY_NOT": ast.Not,
    "UNARY_INVERT": ast.Invert,
}
Display = TypeVar("Display", ast.List, ast.Set, ast.Dict)

CONVERSIONS = (-1, ord("s"), ord("r"), ord("a"))
_HAS_FORMAT = 4
_PAIRS_AT_ONCE = 16
"""The compiler puts so many pairs into a dictionary, then makes another."""


def constant(value: object) -> ast.expr:
    """A constant as an expression."""
    if isinstance(value, frozenset):
        return ast.Set([constant(one) for one in sorted(value, key=repr)])
    if isinstance(value, slice):
        return _slice([constant(one) for one in (value.start, value.stop, value.step)])
    if isinstance(value, tuple) and _has_parts(value):
        return ast.Tuple([constant(one) for one in value], ast.Load())
    if type(value) in {int, float} and repr(value).startswith("-"):
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))  # type: ignore[operator]
    if isinstance(value, complex) and repr(value).startswith("(-0"):  # of -1j
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)  # type: ignore[arg-type]


def _has_parts(value: tuple[object, ...]) -> bool:
    """Whether a tuple holds, at any depth, what is no literal of its own there."""
    return any(
        one is ... or isinstance(one, slice) or (isinstance(one, tuple) and _has_parts(one))
        for one in value
    )


def load(name: str) -> ast.Name:
    """A name that is read."""
    return ast.Name(name, ast.Load())


class Expressions(MachineBase):
    """Constants, names, operators, displays, formats."""

    operations: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("LOAD_FAST", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"), "op_load"),
        **dict.fromkeys(_UNARY, "op_unary"),
        **dict.fromkeys(("NOP", "JUMP"), "op_nothing"),
    }

    def op_nothing(self, _: Instruction) -> None:
        """Nothing."""

    def op_load_const(self, instruction: Instruction) -> None:
        """A constant."""
        self.push(constant(instruction.value))

    def op_load(self, instruction: Instruction) -> None:
        """A variable."""
        name = str(instruction.value)
        self.names.used.add(name)
        self.push(load(name))

    def op_load_global(self, instruction: Instruction) -> None:
        """A global, with a null before it for a call."""
        if instruction.arg & 1:
            self.push(marks.Null())
        self.names.load_global(str(instruction.value))
        self.push(load(str(instruction.value)))

    def op_load_closure(self, instruction: Instruction) -> None:
        """A cell."""
        self.push(marks.Closure(str(instruction.value)))

    def op_load_attr(self, instruction: Instruction) -> None:
        """An attribute."""
        value = ast.Attribute(self.pop(), self.names.attribute(instruction.value), ast.Load())
        self._note_super(value.value)
        value.is_plain = True  # type: ignore[attr-defined]
        self.push(value)

    def op_load_method(self, instruction: Instruction) -> None:
        """An attribute that is called next."""
        self.push(marks.Null())
        value = self.stack.pop(-2) if len(self.stack) > 1 else self.pop()
        if isinstance(value, Shared):
            value = self._used(value)
        self._note_super(value)
        self.push(ast.Attribute(value, self.names.attribute(instruction.value), ast.Load()))

    def _note_super(self, value: ast.expr) -> None:
        """The compiler does not shorten ``super().name`` where the module binds or reads super."""
        called = value.func if isinstance(value, ast.Call) else None
        if isinstance(called, ast.Name) and called.id == "super" and self.flow.shortens_super:
            self.names.imported.add("super")

    def op_load_zero_super_attr(self, instruction: Instruction) -> None:
        """An attribute of ``super()``, whose arguments the compiler gave."""
        self.pop_many(2)
        value = ast.Call(self.pop(), [], [])
        self.push(ast.Attribute(value, self.names.attribute(instruction.value), ast.Load()))

    def op_load_super_attr(self, instruction: Instruction) -> None:
        """An attribute of ``super(a, b)``."""
        arguments = self.pop_many(2)
        value = ast.Call(self.pop(), arguments, [])
        self.push(ast.Attribute(value, self.names.attribute(instruction.value), ast.Load()))

    def op_unary(self, instruction: Instruction) -> None:
        """One operand."""
        self.push(ast.UnaryOp(_UNARY[instruction.op](), self.pop()))

    def op_binary_op(self, instruction: Instruction) -> None:
        """Two operands; in place if the operator has an equals sign."""
        symbol = str(instruction.value)
        operator = BINARY[symbol.removesuffix("=")]()
        right, left = self.pop(), self.pop()
        if symbol.endswith("="):
            self.push(marks.InPlace(left, operator, right))
        else:
            self.push(ast.BinOp(left, operator, right))

    def op_binary_subscr(self, _: Instruction) -> None:
        """An item."""
        key, value = self.pop(), self.pop()
        self.push(ast.Subscript(value, key, ast.Load()))

    def op_compare_op(self, instruction: Instruction) -> None:
        """A comparison."""
        self._compare(COMPARE[str(instruction.value)]())

    def op_is_op(self, instruction: Instruction) -> None:
        """Identity."""
        self._compare(ast.IsNot() if instruction.arg else ast.Is())

    def op_contains_op(self, instruction: Instruction) -> None:
        """Membership."""
        self._compare(ast.NotIn() if instruction.arg else ast.In())

    def _compare(self, operator: ast.cmpop) -> None:
        right, left = self.pop(), self.pop()
        self.push(ast.Compare(left, [operator], [right]))

    def op_build_slice(self, instruction: Instruction) -> None:
        """A slice; that of ``x[slice(1, 2)]`` is none."""
        if instruction.arg not in {2, 3}:
            raise CorruptCode(f"{self.flow.code.co_name}: a slice of {instruction.arg} parts")
        self.push(_slice(self.pop_many(instruction.arg)))

    def op_build_tuple(self, instruction: Instruction) -> None:
        """A tuple."""
        self.push(ast.Tuple(self.pop_many(instruction.arg), ast.Load()))

    def op_build_list(self, instruction: Instruction) -> None:
        """A list."""
        if self._starts_comprehension("<listcomp>"):
            return
        copied = len(self.stack) > 1 and self.stack[-1] is self.stack[-2]
        if not instruction.arg and copied and isinstance(self.stack[-1], marks.Caught):
            self.push(marks.Kept())  # of what handlers of groups raise
            return
        self.push(ast.List(self.pop_many(instruction.arg), ast.Load()))

    def op_build_set(self, instruction: Instruction) -> None:
        """A set."""
        if self._starts_comprehension("<setcomp>"):
            return
        self.push(ast.Set(self.pop_many(instruction.arg)))

    def op_build_map(self, instruction: Instruction) -> None:
        """A dictionary."""
        if self._starts_comprehension("<dictcomp>"):
            return
        flat = self.pop_many(2 * instruction.arg)
        self.push(ast.Dict(list(flat[::2]), flat[1::2]))

    def op_build_const_key_map(self, instruction: Instruction) -> None:
        """A dictionary whose keys are in one constant."""
        keys = self.pop()
        values = self.pop_many(instruction.arg)
        if not isinstance(keys, ast.Constant) or not isinstance(keys.value, tuple):
            raise Unstructured(
                f"{self.flow.code.co_name}: the keys of a dictionary are no constant"
            )
        self.push(ast.Dict([constant(key) for key in keys.value], values))

    def op_list_append(self, instruction: Instruction) -> None:
        """An element of a display that is long, or of a comprehension."""
        value = self.pop()
        if self._is_comprehension():
            self.statements.append(ast.Expr(Added("list", value)))
        else:
            self._more(instruction).append(value)

    def _more(self, instruction: Instruction) -> list[ast.expr]:
        """The elements of a list that gets more: those of a constant were taken from it."""
        found = self._collection(instruction, ast.List)
        taken = getattr(found, "constant", None)
        if taken is not None:
            found.elts = [ast.Starred(taken, ast.Load())]
            del found.constant  # type: ignore[attr-defined]
        return found.elts

    def op_set_add(self, instruction: Instruction) -> None:
        """An element of a set."""
        value = self.pop()
        if self._is_comprehension():
            self.statements.append(ast.Expr(Added("set", value)))
        else:
            self._collection(instruction, ast.Set).elts.append(value)

    def op_list_extend(self, instruction: Instruction) -> None:
        """The elements of an iterable in a list."""
        value = self.pop()
        elements = self._more(instruction)
        if not elements and _is_display(value):
            self._collection(instruction, ast.List).constant = value  # type: ignore[attr-defined]
            elements += [constant(one) for one in value.value]  # type: ignore[attr-defined]
        else:
            elements.append(ast.Starred(value, ast.Load()))

    def op_set_update(self, instruction: Instruction) -> None:
        """The elements of an iterable in a set."""
        value = self.pop()
        elements = self._collection(instruction, ast.Set).elts
        if isinstance(value, ast.Set):
            elements += value.elts
        else:
            elements.append(ast.Starred(value, ast.Load()))

    def op_map_add(self, instruction: Instruction) -> None:
        """A pair of a dictionary that is long."""
        value, key = self.pop(), self.pop()
        if self._is_comprehension():
            self.statements.append(ast.Expr(Added("dict", value, key)))
            return
        target = self._collection(instruction, ast.Dict)
        target.keys.append(key)
        target.values.append(value)

    def op_dict_update(self, instruction: Instruction) -> None:
        """All pairs of a mapping."""
        value = self.pop()
        target = self._collection(instruction, ast.Dict)
        if isinstance(value, ast.Dict) and value.keys and _takes_pairs(target):
            target.keys += value.keys
            target.values += value.values
        else:
            target.keys.append(None)
            target.values.append(value)

    def op_dict_merge(self, instruction: Instruction) -> None:
        """Keyword arguments of a call."""
        self.op_dict_update(instruction)

    def op_list_to_tuple(self, _: Instruction) -> None:
        """A tuple that was built as a list."""
        value = self.pop()
        if not isinstance(value, ast.List):
            raise Unstructured(f"{self.flow.code.co_name}: a list that was not displayed")
        self.push(ast.Tuple(value.elts, ast.Load()))

    def _collection(self, instruction: Instruction, kind: type[Display]) -> Display:
        at = instruction.arg
        found = self.stack[-at] if 0 < at <= len(self.stack) else None
        if not isinstance(found, kind):
            raise Unstructured(f"{self.flow.code.co_name}: {instruction.op} without a display")
        return found

    def op_format_value(self, instruction: Instruction) -> None:
        """A value in an f-string."""
        spec: ast.expr | None = None
        if instruction.arg & _HAS_FORMAT:
            spec = format_of(self.pop())
        value, conversion = self.pop(), CONVERSIONS[instruction.arg & 3]
        if isinstance(value, marks.Converted):
            conversion, value = value.conversion, value.value
        self.push(ast.JoinedStr([ast.FormattedValue(value, conversion, spec)]))

    def op_convert_value(self, instruction: Instruction) -> None:
        """A value in an f-string that is converted, and formatted next."""
        self.push(marks.Converted(self.pop(), CONVERSIONS[instruction.arg & 3]))

    def op_build_string(self, instruction: Instruction) -> None:
        """An f-string."""
        self.push(_joined(self.pop_many(instruction.arg)))

    def _starts_comprehension(self, name: str) -> bool:
        """Whether this is the result of a comprehension, empty still; pushes it."""
        if self.stack or self.flow.name != name:
            return False
        self.push(marks.Result())
        return True

    def _is_comprehension(self) -> bool:
        """Whether an element is added to the result of a comprehension, below its iterators."""
        return bool(self.stack) and isinstance(self.stack[-1], marks.Iterator)

    def op_get_len(self, _: Instruction) -> None:
        """Only patterns take the length that way."""
        raise Unstructured(f"{self.flow.code.co_name}: a pattern")


def format_of(value: ast.expr) -> ast.expr:
    """The format of a value, as a string of parts."""
    return value if isinstance(value, ast.JoinedStr) else _joined([value])


def _joined(parts: list[ast.expr]) -> ast.JoinedStr:
    found: list[ast.expr] = []
    for part in parts:
        if isinstance(part, ast.JoinedStr):
            found += part.values
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            found.append(part)
        else:
            raise Unstructured("a part of an f-string is no string")
    return ast.JoinedStr(found)


def _is_display(value: ast.expr) -> bool:
    """Whether a list that begins with these elements, and ends with them, was displayed."""
    listed = value.value if isinstance(value, ast.Constant) else None
    return isinstance(listed, tuple) and len(listed) > 2


def _slice(parts: list[ast.expr]) -> ast.Slice:
    return ast.Slice(*(None if _is_none(part) else part for part in parts))


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _takes_pairs(target: ast.Dict) -> bool:
    """Whether the compiler starts another dictionary for pairs that follow in a display."""
    since = 0
    for key in reversed(target.keys):
        if key is None:
            break
        since += 1
    return bool(target.keys) and (since == 0 or since % _PAIRS_AT_ONCE == 0)
