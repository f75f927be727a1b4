"""A machine whose stack is in variables: for code that is no structured source.

Before each statement all that waits on the stack is computed into variables, in the order in which
the interpreter computes it; so nothing depends on how expressions nest.
"""

from __future__ import annotations

import ast
from typing import ClassVar

from crossdock.decompile import marks
from crossdock.decompile.calls import COMPREHENSIONS
from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.flow import BOUND, LASTI, NULL, PREVIOUS, Flow, Shape
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.marks import InPlace, Iteration
from crossdock.decompile.names import Names
from crossdock.decompile.symbolic import Machine, actions
from crossdock.decompile.templates import CalledTemplates

_NO_VALUE = (marks.Function, marks.Imported, marks.ImportedName)


class Variables:
    """Names that the code does not use itself, for what the interpreter keeps."""

    def __init__(self, names: Names) -> None:
        code = names.code
        taken = {*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars}
        self.prefix = "_"
        while any(one.startswith(self.prefix + "d") for one in taken):
            self.prefix += "_"
        self.count = 0
        self.state, self.builtins = self.prefix + "dstate", self.prefix + "dbuiltins"

    def slot(self, at: int) -> str:
        """Of a place on the stack."""
        return f"{self.prefix}ds{at}"

    def error(self, level: int) -> str:
        """Of the exception that so many handlers deep was caught."""
        return f"{self.prefix}de{level}"

    def fresh(self) -> str:
        """Of a value within a block."""
        self.count += 1
        return f"{self.prefix}dt{self.count}"

    def builtin(self, name: str) -> ast.expr:
        """A builtin, whatever the code calls by its name."""
        return ast.Attribute(load(self.builtins), name, ast.Load())

    def call(self, name: str, *arguments: ast.expr) -> ast.expr:
        """A call of a builtin."""
        return ast.Call(self.builtin(name), list(arguments), [])


def load(name: str) -> ast.Name:
    """A variable that is read."""
    return ast.Name(name, ast.Load())


def let(name: str, value: ast.expr) -> ast.stmt:
    """An assignment."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


class SpillingMachine(CalledTemplates, Machine):
    """Runs one block after the other."""

    operations: ClassVar[dict[str, str]] = {}

    def __init__(self, flow: Flow, names: Names, variables: Variables) -> None:
        super().__init__(flow, names)
        self.variables = variables
        self.builtin = variables.builtin

    def start(self, shape: Shape) -> None:
        """A block begins with this on the stack."""
        self.statements = []
        self.stack = []
        for at, (kind, _) in enumerate(shape):
            if kind in {NULL, BOUND}:
                self.push(marks.Null())
            elif kind in {PREVIOUS, LASTI}:
                self.push(marks.Kept())
            else:
                self.push(load(self.variables.slot(at)))

    def store_stack(self) -> list[ast.stmt]:
        """The statements that put the stack where the next block finds it."""
        names, values = [], []
        for at, value in enumerate(self.stack):
            name = self.variables.slot(at)
            if isinstance(value, marks.Mark) or (isinstance(value, ast.Name) and value.id == name):
                continue
            names.append(ast.Name(name, ast.Store()))
            values.append(self.plain(value))
        if not names:
            return []
        if len(names) == 1:
            return [ast.Assign([names[0]], values[0])]
        return [ast.Assign([ast.Tuple(list(names), ast.Store())], ast.Tuple(values, ast.Load()))]

    def plain(self, value: ast.expr) -> ast.expr:
        """A value as source has it."""
        if isinstance(value, Iteration):
            return self.variables.call("aiter" if value.is_async else "iter", value.value)
        if isinstance(value, InPlace):
            return self._in_place(value)
        if isinstance(value, ast.Slice):
            parts = (value.lower, value.upper, value.step)
            return self.variables.call("slice", *(one or ast.Constant(None) for one in parts))
        if isinstance(value, marks.Function) and value.code.co_name in COMPREHENSIONS:
            return self._of_iterator(value)
        if isinstance(value, _NO_VALUE):
            raise Unstructured(f"{self.flow.code.co_name}: a definition or import amid a value")
        return value

    def _of_iterator(self, made: marks.Function) -> ast.expr:
        """The function of a comprehension, to be called in another block."""
        name = self.variables.fresh()
        given = ast.arguments([], [ast.arg(name)], None, [], [], None, [])
        return ast.Lambda(given, self.comprehension(made, Iteration(load(name))))

    def keep(self, value: ast.expr) -> ast.Name:
        """Compute a value now, into a variable."""
        name = self.variables.fresh()
        self.statements.append(let(name, self.plain(value)))
        found = load(name)
        found.lineno = 0
        return found

    def spill(self) -> None:
        """Compute all that waits."""
        places = [at for at, value in enumerate(self.stack) if not self._is_settled(value)]
        for at in sorted(places, key=lambda one: self.stack[one].lineno):
            self.stack[at] = self.keep(self.stack[at])

    def _is_settled(self, value: ast.expr) -> bool:
        if isinstance(value, ast.Name):
            return value.id.startswith(self.variables.prefix + "d")
        return isinstance(value, marks.Mark | ast.Constant | marks.Imported | marks.ImportedName)

    def _in_place(self, value: InPlace) -> ast.expr:
        name = self.variables.fresh()
        self.statements.append(let(name, value.left))
        self.statements.append(ast.AugAssign(ast.Name(name, ast.Store()), value.op, value.right))
        return load(name)

    def pop_raw(self) -> ast.expr:
        """The top, as it is; what lies below it but was computed later is still computed later."""
        waiting = [one for one in self.stack if not self._is_settled(one)]
        if waiting and waiting[-1] is self.stack[-1]:
            later = [one for one in waiting if one.lineno > waiting[-1].lineno]
            if later and not any(isinstance(one, _NO_VALUE) for one in waiting):
                self.spill()
        return super().pop_raw()

    def pop(self) -> ast.expr:
        """The top; an operator in place is a statement before."""
        value = self.pop_raw()
        if isinstance(value, InPlace):
            self.spill()
            return self._in_place(value)
        return value

    def say(self, statement: ast.stmt) -> None:
        """A statement, after all that was computed before it."""
        self.spill()
        self.statements.append(statement)

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        self.spill()
        if isinstance(value, Iteration):
            value = self.plain(value)
        if isinstance(value, InPlace) and not self._same_place(targets[0], value.left):
            value = self._in_place(value)
        self.statements.append(self.assignment(targets, value))

    def unpack(self, count: int, star: int = -1) -> None:
        """Parts go to variables."""
        value = self.plain(self.pop_raw())
        self.spill()
        names = [self.variables.fresh() for _ in range(count)]
        targets: list[ast.expr] = [ast.Name(name, ast.Store()) for name in names]
        if star >= 0:
            targets[star] = ast.Starred(targets[star], ast.Store())
        target = ast.Tuple(targets, ast.Store()) if targets else ast.List([], ast.Store())
        self.statements.append(ast.Assign([target], value))
        for name in reversed(names):
            self.push(load(name))

    def _discard(self, value: ast.expr) -> None:
        if not (isinstance(value, ast.Name) and self._is_settled(value)):
            super()._discard(value)

    def op_call(self, instruction: Instruction) -> None:
        """A call, maybe of what was the function of a comprehension."""
        super().op_call(instruction)
        made = self.stack[-1]
        if isinstance(made, ast.Call):
            made.args = [self.plain(o) if isinstance(o, Iteration) else o for o in made.args]

    def op_load_common_constant(self, instruction: Instruction) -> None:
        """A builtin."""
        self.push(self.variables.builtin(str(instruction.value)))

    def op_copy(self, instruction: Instruction) -> None:
        """A value that is needed twice is computed once."""
        if not 0 < instruction.arg <= len(self.stack):
            raise CorruptCode(f"{self.flow.code.co_name}: a copy of what is not on the stack")
        self.spill()
        value = self.stack[-instruction.arg]
        self.stack.append(value)

    def op_before_with(self, instruction: Instruction) -> None:
        """Enter a context, and keep its exit function."""
        prefix = "__a" if instruction.op == "BEFORE_ASYNC_WITH" else "__"
        manager = self.keep(self.pop())
        self.spill()
        leave = ast.Attribute(manager, prefix + "exit__", ast.Load())
        if instruction.arg:
            self.push(marks.Null())
        self.push(self.keep(leave))
        self.push(ast.Call(ast.Attribute(manager, prefix + "enter__", ast.Load()), [], []))
        self.spill()

    def op_with_except_start(self, _: Instruction) -> None:
        """Tell the exit function of an exception."""
        if len(self.stack) < 4:
            raise CorruptCode(f"{self.flow.code.co_name}: no exit function on the stack")
        error, leave = self.stack[-1], self.stack[-4]
        trace = ast.Attribute(error, "__traceback__", ast.Load())
        self.push(ast.Call(leave, [self.variables.call("type", error), error, trace], []))

    def op_check_exc_match(self, _: Instruction) -> None:
        """Whether an exception is of a type."""
        type_ = self.pop()
        self.push(self.variables.call("isinstance", self.stack[-1], type_))

    def op_pop_except(self, _: Instruction) -> None:
        """The loop of a lower level goes on; see ``dispatch``."""
        self.pop_raw()

    def op_get_len(self, _: Instruction) -> None:
        """How many parts a subject has."""
        self.spill()
        self.push(self.variables.call("len", self._subject()))

    def _subject(self) -> ast.expr:
        if not self.stack:
            raise CorruptCode(f"{self.flow.code.co_name}: a pattern is matched with nothing")
        return self.stack[-1]

    def op_match_sequence(self, _: Instruction) -> None:
        """Whether a subject is a sequence."""
        self._match(ast.MatchSequence([ast.MatchStar(None)]), ast.Constant(True), False)

    def op_match_mapping(self, _: Instruction) -> None:
        """Whether a subject is a mapping."""
        self._match(ast.MatchMapping([], [], None), ast.Constant(True), False)

    def op_match_keys(self, _: Instruction) -> None:
        """The values of keys in a subject, None if one is missing."""
        asked = self.pop()
        keys = self._keys(asked)
        names = [self.variables.fresh() for _ in keys]
        patterns: list[ast.pattern] = [ast.MatchAs(None, name) for name in names]
        pattern = ast.MatchMapping(keys, patterns, None)
        self._match(pattern, ast.Tuple([load(name) for name in names], ast.Load()), None)
        values = self.stack.pop()
        self.push(asked if isinstance(asked, ast.Constant) else ast.Tuple(keys, ast.Load()))
        self.push(values)

    def op_copy_dict_without_keys(self, _: Instruction) -> None:
        """What is left of a mapping without those keys."""
        self.spill()
        keys = self.keep(self.pop())
        rest = self.keep(ast.Dict([None], [self._subject()]))
        key = self.variables.fresh()
        drop = ast.Delete([ast.Subscript(rest, load(key), ast.Del())])
        self.statements.append(ast.For(ast.Name(key, ast.Store()), keys, [drop], []))
        self.push(rest)

    def _keys(self, value: ast.expr) -> list[ast.expr]:
        """Keys as patterns can have them: constants, or names with a dot."""
        if isinstance(value, ast.Constant) and isinstance(value.value, tuple):
            return [ast.Constant(one) for one in value.value]
        if not isinstance(value, ast.Tuple):
            raise Unstructured(f"{self.flow.code.co_name}: keys of a pattern are no tuple")
        names = [f"key{at}" for at in range(len(value.elts))]
        attributes = ast.Dict([ast.Constant(name) for name in names], value.elts)
        nothing = ast.Tuple([], ast.Load())
        holder = self.keep(self.variables.call("type", ast.Constant("keys"), nothing, attributes))
        return [ast.Attribute(holder, name, ast.Load()) for name in names]

    def op_match_class(self, instruction: Instruction) -> None:
        """The attributes of a subject of a class, None if it is of another."""
        names = self.pop()
        if not isinstance(names, ast.Constant) or not isinstance(names.value, tuple):
            raise Unstructured(f"{self.flow.code.co_name}: attributes of a pattern are no constant")
        type_ = self.keep(self.pop())
        self.spill()
        fresh = [self.variables.fresh() for _ in range(instruction.arg + len(names.value))]
        patterns: list[ast.pattern] = [ast.MatchAs(None, name) for name in fresh]
        pattern = ast.MatchClass(
            type_, patterns[: instruction.arg], list(names.value), patterns[instruction.arg :]
        )
        self._match(pattern, ast.Tuple([load(name) for name in fresh], ast.Load()), None)
        del self.stack[-2]

    def _match(self, pattern: ast.pattern, found: ast.expr, other: object) -> None:
        self.spill()
        name = self.variables.fresh()
        cases = [
            ast.match_case(pattern, None, [let(name, found)]),
            ast.match_case(ast.MatchAs(None, None), None, [let(name, ast.Constant(other))]),  # type: ignore[arg-type]
        ]
        self.statements.append(ast.Match(self._subject(), cases))
        self.push(load(name))


SpillingMachine.operations = actions(SpillingMachine)
