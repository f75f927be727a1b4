"""Instructions around calls, functions, classes, iteration, awaiting, and the stack itself."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import CodeType
from typing import ClassVar

from crossdock.decompile import late, marks, signatures
from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.inlining import Outlined
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase
from crossdock.decompile.marks import Function, Iteration, Null, Shared

GENERIC = "<generic parameters of "
"""How the name of a function begins that makes type parameters."""
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
CO_COROUTINE = 128
_METHOD_ARGUMENTS_MAX = 30


class Calls(MachineBase):
    """Calls and the rest; ``comprehension`` makes the expression of a nested code object."""

    operations: ClassVar[dict[str, str]] = {
        "BEFORE_ASYNC_WITH": "op_before_with",
        "CALL_TUPLE": "op_call_function_ex",
        "ASYNC_GEN_WRAP": "op_nothing_more",
    }
    comprehension: Callable[[Function, Iteration], ast.expr]
    outlined: Callable[[Outlined, Iteration], ast.expr]
    generic: Callable[[Function, list[ast.expr]], ast.expr]

    def op_nothing_more(self, _: Instruction) -> None:
        """Nothing that the next instruction does not imply."""

    def op_push_null(self, _: Instruction) -> None:
        """A call follows."""
        self.push(Null())

    def op_kw_names(self, instruction: Instruction) -> None:
        """Names of the last arguments."""
        if not isinstance(instruction.value, tuple):
            raise CorruptCode(f"{self.flow.code.co_name}: names of arguments are no tuple")
        self.keywords = tuple(map(str, instruction.value))

    def op_call(self, instruction: Instruction) -> None:
        """A call with its arguments on the stack."""
        names, self.keywords = self.keywords, ()
        arguments = self.pop_many(instruction.arg)
        function, first = self.pop(), self.pop()
        if not isinstance(first, Null):
            arguments.insert(0, function)
            function = first
        if isinstance(function, Function):
            iteration = arguments[0] if len(arguments) == 1 else None
            if function.code.co_name in COMPREHENSIONS and isinstance(iteration, Iteration):
                self.push(self.comprehension(function, iteration))
                return
            if function.code.co_name.startswith(GENERIC):
                self.push(self.generic(function, arguments))
                return
        if isinstance(first, Null):  # else it is a decorator
            self._note_import(function, len(arguments), bool(names))
        split = len(arguments) - len(names)
        keywords = [
            ast.keyword(name, value) for name, value in zip(names, arguments[split:], strict=True)
        ]
        self.push(ast.Call(function, arguments[:split], keywords))

    def op_comprehension(self, instruction: Instruction) -> None:
        """A comprehension that was inlined."""
        iterated = self.pop()
        if not isinstance(instruction.value, Outlined):
            raise CorruptCode(f"{self.flow.code.co_name}: a comprehension of no instructions")
        if not isinstance(iterated, Iteration):  # an iterator in a variable
            iterated = Iteration(iterated)
        self.push(self.outlined(instruction.value, iterated))

    def _note_import(self, function: ast.expr, count: int, has_names: bool) -> None:
        """The compiler makes no method call of an attribute of what the module imports."""
        if getattr(function, "is_plain", False) and count + has_names < _METHOD_ARGUMENTS_MAX:
            owner = function.value  # type: ignore[attr-defined]
            if isinstance(owner, ast.Name):
                self.names.imported.add(owner.id)

    def op_call_function_ex(self, instruction: Instruction) -> None:
        """A call with a tuple of arguments, and maybe a dictionary."""
        keywords: list[ast.keyword] = []
        if instruction.arg & 1:
            keywords = _keywords(self.pop())
        given = self.pop()
        arguments = [ast.Starred(given, ast.Load())]
        if isinstance(given, ast.Tuple):
            arguments = given.elts  # type: ignore[assignment]
        elif isinstance(given, ast.Constant) and not given.value and keywords:
            arguments = []
        function = self.pop()
        if self.stack and isinstance(self.stack[-1], Null):
            self.stack.pop()
        self.push(ast.Call(function, arguments, keywords))  # type: ignore[arg-type]

    def op_make_function(self, instruction: Instruction) -> None:
        """A function of a code object."""
        code = self.pop()
        if not isinstance(code, ast.Constant) or not isinstance(code.value, CodeType):
            raise Unstructured(f"{self.flow.code.co_name}: a function of no constant")
        made = Function(code.value)
        if instruction.arg & 8:
            self._expect_cells(code.value, self.pop())
        if instruction.arg & 16:
            made.annotate = self._annotate(self.pop())
        if instruction.arg & 4:
            flat = _items(self.pop())
            names = [_text(one) for one in flat[::2]]
            made.annotations = dict(zip(names, map(signatures.starred, flat[1::2]), strict=True))
        if instruction.arg & 2:
            defaults = self.pop()
            if not isinstance(defaults, ast.Dict):
                raise Unstructured(f"{self.flow.code.co_name}: defaults are no dictionary")
            keys = [_text(key) for key in defaults.keys]
            made.keyword_defaults = dict(zip(keys, defaults.values, strict=True))
        if instruction.arg & 1:
            made.defaults = _items(self.pop())
        self.push(made)

    def _annotate(self, made: ast.expr) -> Function:
        if not isinstance(made, Function) or not late.is_late(made.code):
            raise Unstructured(f"{self.flow.code.co_name}: annotations of no function for them")
        return made

    def _expect_cells(self, code: CodeType, cells: ast.expr) -> None:
        names = [one.name for one in _items(cells) if isinstance(one, marks.Closure)]
        if names != list(code.co_freevars):
            raise Unstructured(f"{self.flow.code.co_name}: cells of other names for {code.co_name}")

    def op_load_build_class(self, _: Instruction) -> None:
        """A class follows."""
        self.push(marks.BuildClass())

    def op_get_iter(self, _: Instruction) -> None:
        """A loop or a comprehension follows."""
        value = self.pop()
        self.push(value if isinstance(value, Iteration) else Iteration(value))

    def op_get_aiter(self, _: Instruction) -> None:
        """A loop or a comprehension follows, that awaits."""
        self.push(Iteration(self.pop(), is_async=True))

    def op_get_awaitable(self, _: Instruction) -> None:
        """Something is awaited."""
        self.push(ast.Await(self.pop()))

    def op_get_yield_from_iter(self, _: Instruction) -> None:
        """A generator is delegated to."""
        self.push(ast.YieldFrom(self.pop()))

    def op_yield_from(self, _: Instruction) -> None:
        """The end of awaiting or delegating."""
        self.pop()
        value = self.pop()
        if not isinstance(value, ast.Await | ast.YieldFrom):
            raise Unstructured(f"{self.flow.code.co_name}: what is awaited was not prepared")
        inner = value.value
        self.push(inner if _awaits_itself(inner) else value)

    def op_yield_value(self, _: Instruction) -> None:
        """A value is yielded."""
        self.push(ast.Yield(self.pop()))

    def op_copy(self, instruction: Instruction) -> None:
        """A value is needed once more."""
        at = instruction.arg
        if not 0 < at <= len(self.stack):
            raise CorruptCode(f"{self.flow.code.co_name}: a copy of what is not on the stack")
        value = self.stack[-at]
        if isinstance(value, marks.Caught):
            self.stack.append(value)  # as handlers of groups do
            return
        if isinstance(value, marks.Mark | marks.Received):
            raise Unstructured(f"{self.flow.code.co_name}: what the interpreter keeps is copied")
        if not isinstance(value, Shared):
            shared = Shared(value)
            shared.lineno = value.lineno
            self.shared.append(shared)
            self.stack[-at] = value = shared
        value.copies += 1
        self.stack.append(value)

    def op_swap(self, instruction: Instruction) -> None:
        """Two values change places."""
        at = instruction.arg
        if not 0 < at <= len(self.stack):
            raise CorruptCode(f"{self.flow.code.co_name}: a swap with what is not on the stack")
        self.stack[-1], self.stack[-at] = self.stack[-at], self.stack[-1]

    def op_before_with(self, instruction: Instruction) -> None:
        """A ``with`` statement is entered; async, the value is awaited first."""
        context = self.pop()
        if instruction.arg:
            self.push(Null())
        self.push(marks.Kept())
        self.push(marks.Entered(context, instruction.op == "BEFORE_ASYNC_WITH"))

    def op_push_exc_info(self, _: Instruction) -> None:
        """A handler begins."""
        caught = self.pop()
        self.push(marks.Kept())
        self.push(caught)

    def op_check_exc_match(self, _: Instruction) -> None:
        """The type that a handler is for."""
        self.push(marks.Matches(self.pop()))

    def op_check_eg_match(self, _: Instruction) -> None:
        """The type that a handler of groups is for."""
        type_ = self.pop()
        self.pop()
        self.push(marks.Caught())
        self.push(marks.CaughtGroup(type_))

    def op_pop_except(self, _: Instruction) -> None:
        """A handler ends."""
        if not isinstance(self.pop(), marks.Kept):
            raise Unstructured(f"{self.flow.code.co_name}: a handler ends twice")

    def op_reraise(self, _: Instruction) -> None:
        """No handler of the statement took the exception."""
        self.stack.clear()


def _awaits_itself(value: ast.expr) -> bool:
    if isinstance(value, marks.Received):
        return True
    return isinstance(value, ast.ListComp | ast.SetComp | ast.DictComp) and getattr(
        value, "awaits", False
    )


def _items(value: ast.expr) -> list[ast.expr]:
    if isinstance(value, ast.Tuple):
        return value.elts
    if isinstance(value, ast.Constant) and isinstance(value.value, tuple):
        return [ast.Constant(one) for one in value.value]
    raise Unstructured("a function is made with what is no tuple")


def _text(value: ast.expr | None) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    raise Unstructured("a name is no constant")


def _keywords(value: ast.expr) -> list[ast.keyword]:
    if not isinstance(value, ast.Dict):
        return [ast.keyword(None, value)]
    found = []
    for key, one in zip(value.keys, value.values, strict=True):
        if key is None:
            found.append(ast.keyword(None, one))
        else:
            found.append(ast.keyword(_text(key), one))
    return found
