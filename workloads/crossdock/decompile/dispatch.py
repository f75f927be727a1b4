"""Faithful source of any function: a loop that runs one block of bytecode after the other.

``while True: match state`` with the stack in variables. Handlers run in the ``except`` clause of
the loop that caught their exception, in a loop of their own, so that the exception which is handled
is the same as in the bytecode; ``POP_EXCEPT`` leaves that loop. What differs from the original are
local variables that only ``locals()`` and debuggers see, how long values on the stack live, and
lines in tracebacks.
"""

from __future__ import annotations

import ast

from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.flow import EXCEPTION, KEEPS, LOOPS, PREVIOUS, TESTS, Flow, Shape
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.spilling import SpillingMachine, Variables, let, load

BLOCKS_MAX = 5000
LEVELS_MAX = 4
"""Loops may be nested 20 deep in Python, and each level is a loop and a ``try``."""


class Dispatch:
    """The statements of a function's loop. Unstructured for instructions without any source."""

    def __init__(self, flow: Flow, machine: SpillingMachine) -> None:
        self.flow = flow
        self.machine = machine
        self.variables: Variables = machine.variables
        self.blocks = _blocks(flow)
        self.numbers = {first: at for at, first in enumerate(self.blocks)}
        self.levels = _levels(flow)
        if len(self.blocks) > BLOCKS_MAX or max(self.levels) > LEVELS_MAX:
            raise Unstructured(f"{flow.code.co_name}: too many blocks for a loop")

    def statements(self) -> list[ast.stmt]:
        """The whole body."""
        start = ast.Constant(self.numbers[self.flow.skip(0)])
        name = self.variables.builtins
        return [
            ast.Import([ast.alias("builtins", name)]),
            let(self.variables.state, start),
            self._loop(0),
        ]

    def _loop(self, level: int) -> ast.stmt:
        mine = [first for first in self.blocks if self.levels[first] == level]
        cases = [self._case([first], self._block(first)) for first in mine]
        body: list[ast.stmt] = [ast.Match(load(self.variables.state), cases)]
        if any(self.flow.handler(self._last(first)) >= 0 for first in mine):
            error = self.variables.error(level)
            handler = ast.ExceptHandler(
                self.variables.builtin("BaseException"), error, self._caught(mine, level, error)
            )
            body = [ast.Try(body, [handler], [], [])]
        return ast.While(ast.Constant(True), body, [])

    def _case(self, firsts: list[int], body: list[ast.stmt]) -> ast.match_case:
        patterns: list[ast.pattern] = [
            ast.MatchValue(ast.Constant(self.numbers[first])) for first in firsts
        ]
        pattern = patterns[0] if len(patterns) == 1 else ast.MatchOr(patterns)
        return ast.match_case(pattern, None, body)

    def _last(self, first: int) -> int:
        return self.blocks[first][-1]

    def _caught(self, mine: list[int], level: int, error: str) -> list[ast.stmt]:
        """What the handlers do: find their block, and maybe go one level deeper."""
        by_handler: dict[int, list[int]] = {}
        for first in mine:
            by_handler.setdefault(self.flow.handler(self._last(first)), []).append(first)
        cases, deeper = [], False
        for handler, firsts in by_handler.items():
            if handler < 0:
                continue
            target = self.flow.skip(handler)
            body = self._enter(handler, target, error)
            if self.levels[target] == level:
                body.append(ast.Continue())
            deeper = deeper or self.levels[target] > level
            cases.append(self._case(firsts, body))
        cases.append(ast.match_case(ast.MatchAs(None, None), None, [ast.Raise(None, None)]))
        found: list[ast.stmt] = [ast.Match(load(self.variables.state), cases)]
        return [*found, self._loop(level + 1)] if deeper else found

    def _enter(self, handler: int, target: int, error: str) -> list[ast.stmt]:
        shape = self.flow.shapes[handler] or ()
        found = [let(self.variables.slot(len(shape) - 1), load(error))]
        if self.flow.instructions[target].op == "PUSH_EXC_INFO":
            found = [let(self.variables.slot(len(shape)), load(error))]
        return [*found, let(self.variables.state, ast.Constant(self.numbers[target]))]

    def _block(self, first: int) -> list[ast.stmt]:
        machine, found = self.machine, self.flow.instructions
        machine.start(self._shape(first))
        for index in self.blocks[first]:
            one = found[index]
            if one.op in TESTS or one.op in LOOPS or one.op == "RERAISE":
                return machine.statements + self._end(index, one)
            if one.op != "PUSH_EXC_INFO":
                machine.run(one)
        if one.op in {"RETURN_VALUE", "RAISE_VARARGS"}:
            return machine.statements
        (successor,) = self.flow.successors(index)
        return machine.statements + self._goto(index, successor)

    def _shape(self, first: int) -> Shape:
        shape = self.flow.shapes[first] or ()
        if self.flow.instructions[first].op == "PUSH_EXC_INFO":
            return (*shape[:-1], (PREVIOUS, first), (EXCEPTION, first))
        return shape

    def _goto(self, index: int, successor: int) -> list[ast.stmt]:
        """Store the stack, then the state, which is that of the block until nothing can raise."""
        target = self.flow.skip(successor)
        before = len(self.machine.statements)
        stored = self.machine.store_stack()
        extra = self.machine.statements[before:]
        del self.machine.statements[before:]
        state = let(self.variables.state, ast.Constant(self.numbers[target]))
        falls = self.levels[target] < self.levels[index]
        return [*extra, *stored, state, ast.Break() if falls else ast.Continue()]

    def _end(self, index: int, one: Instruction) -> list[ast.stmt]:
        before = len(self.machine.statements)
        if one.op == "RERAISE":
            found = self._reraise()
        elif one.op in LOOPS:
            found = self._turn(index, one)
        else:
            found = self._branch(index, one)
        extra = self.machine.statements[before:]
        del self.machine.statements[before:]
        return [*extra, *found]

    def _reraise(self) -> list[ast.stmt]:
        """Raising it again must not change its context."""
        error = self.machine.pop()
        context = self.variables.fresh()
        attribute = ast.Attribute(error, "__context__", ast.Load())
        target = ast.Attribute(error, "__context__", ast.Store())
        restore = ast.Assign([target], load(context))
        return [
            let(context, attribute),
            ast.Try([ast.Raise(error, None)], [], [], [restore]),
        ]

    def _turn(self, index: int, one: Instruction) -> list[ast.stmt]:
        machine, fresh = self.machine, self.variables.fresh()
        body_at, exhausted = self.flow.successors(index)
        iterator = machine.pop()
        if isinstance(iterator, ast.Name) is False:
            iterator = machine.keep(iterator)
        stack = list(machine.stack)
        leave = self._goto(index, exhausted)
        machine.stack = [*stack, iterator, load(fresh)]
        turn = self._goto(index, body_at)
        if one.op in LOOPS and one.op != "FOR_ITER":
            following = ast.Await(self.variables.call("anext", iterator))
            stop = "StopAsyncIteration"
        else:
            following = self.variables.call("next", iterator)  # type: ignore[assignment]
            stop = "StopIteration"
        handler = ast.ExceptHandler(self.variables.builtin(stop), None, leave)
        return [ast.Try([let(fresh, following)], [handler], [], []), *turn]

    def _branch(self, index: int, one: Instruction) -> list[ast.stmt]:
        machine = self.machine
        following, target = self.flow.successors(index)
        value = machine.pop()
        if one.op in KEEPS:
            value = machine.keep(value)
        stack = list(machine.stack)
        test = value
        if one.op.endswith("NONE"):
            operator = ast.IsNot() if one.op.endswith("NOT_NONE") else ast.Is()
            test = ast.Compare(value, [operator], [ast.Constant(None)])
        elif "FALSE" in one.op:
            test = ast.UnaryOp(ast.Not(), value)
        if any(not isinstance(one, ast.Name | ast.Constant) for one in stack):
            name = load(self.variables.fresh())
            machine.spill()
            machine.statements.append(let(name.id, test))
            test, stack = name, list(machine.stack)
        jump_stack = [*stack, value] if one.op in KEEPS else stack
        machine.stack = list(jump_stack)
        jump = self._goto(index, target)
        machine.stack = list(stack)
        return [ast.If(test, jump, []), *self._goto(index, following)]


def _levels(flow: Flow) -> list[int]:
    """How many handlers each instruction runs in; ``PUSH_EXC_INFO`` in that which it begins."""
    levels = [-1] * len(flow.instructions)
    todo = [(0, 0)]
    while todo:
        index, level = todo.pop()
        op = flow.instructions[index].op
        level += op == "PUSH_EXC_INFO"
        if level < 0:
            raise CorruptCode(f"{flow.code.co_name}: {op} follows the end of no handler")
        if levels[index] >= 0:
            continue
        levels[index] = level
        entry, handler = flow.instructions[index].handler, flow.handler(index)
        if entry is not None:
            kept = (flow.shapes[handler] or ())[: entry.depth]
            todo.append((handler, sum(kind == PREVIOUS for kind, _ in kept)))
        todo += [(following, level - (op == "POP_EXCEPT")) for following in flow.successors(index)]
    return levels


def _blocks(flow: Flow) -> dict[int, list[int]]:
    """Indices of each block by its first, in order; without nothings and jumps."""
    leaders = {flow.skip(0)}
    live = [index for index, shape in enumerate(flow.shapes) if shape is not None]
    for index in live:
        one = flow.instructions[index]
        following = [flow.skip(to) for to in flow.successors(index)]
        if (
            len(following) > 1
            or one.op in {"POP_EXCEPT", "JUMP"}
            or (following and flow.handler(following[0]) != flow.handler(index))
        ):
            leaders.update(following)
        if flow.handler(index) >= 0:
            leaders.add(flow.skip(flow.handler(index)))
    found: dict[int, list[int]] = {}
    for first in sorted(leaders):
        if flow.shapes[first] is None:
            continue
        block = [first]
        while True:
            following = list(flow.successors(block[-1]))
            ends = flow.instructions[block[-1]].op in {"POP_EXCEPT", "JUMP"}
            if len(following) != 1 or ends or flow.skip(following[0]) in leaders:
                break
            block.append(flow.skip(following[0]))
        found[first] = block
    return found
