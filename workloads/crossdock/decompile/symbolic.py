"""All instructions together, and the running of a whole graph of blocks."""

from __future__ import annotations

import ast
from typing import ClassVar

from crossdock.decompile import dominators, marks
from crossdock.decompile.annotating import Annotating
from crossdock.decompile.calls import Calls
from crossdock.decompile.cases import Patterns
from crossdock.decompile.conditions import Conditions
from crossdock.decompile.definitions import Definitions
from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.expressions import Expressions
from crossdock.decompile.flow import KEEPS, LASTI, LOOPS, MATCH_CASE, TESTS, Shape
from crossdock.decompile.graph import Graph, Node
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.marks import Shared
from crossdock.decompile.names import Names
from crossdock.decompile.regions import NAMED, WITH
from crossdock.decompile.stores import Stores
from crossdock.decompile.templates import Templates
from crossdock.decompile.type_parameters import TypeParameters
from crossdock.decompile.unwind import FINALLY_END
from crossdock.decompile.work import END, ENTRY, LOOP, NEXT, OUTSIDE_CALL, TEST, Work, Works


def actions(owner: type) -> dict[str, str]:
    """The method for each instruction of a machine."""
    found = {
        name.removeprefix("op_").upper(): name for name in dir(owner) if name.startswith("op_")
    }
    for base in owner.__mro__:
        found.update(vars(base).get("operations", {}))
    return found


class Machine(
    TypeParameters, Definitions, Stores, Calls, Annotating, Templates, Expressions, Patterns
):
    """All instructions."""

    operations: ClassVar[dict[str, str]] = {}


Machine.operations = actions(Machine)


class Execution:
    """Runs the blocks of a graph, each after those that lead to it."""

    def __init__(self, graph: Graph, names: Names) -> None:
        self.graph = graph
        self.flow = graph.flow
        self.machine = Machine(graph.flow, names)
        self.works = Works()
        self.works.fresh = max(graph.nodes) + 1
        self.conditions = Conditions(self.works)
        self.start = graph.start

    def run(self) -> Works:
        """All blocks. Unstructured for values that meet in no expression."""
        nodes = self.graph.nodes
        order = dominators.reverse_postorder(self.start, lambda one: nodes[one].successors)
        self.place = {number: at for at, number in enumerate(order)}
        self.headers = set()
        self.works.incoming[self.start].append(OUTSIDE_CALL)
        for number in order:
            for successor in nodes[number].successors:
                self.works.incoming[successor].append(number)
                if self.place[successor] <= self.place[number]:
                    self.headers.add(successor)
        self.done: list[int] = []
        for number in order:
            self._run_node(nodes[number])
        return self.works

    def _run_node(self, node: Node) -> None:
        number = node.number
        if number != self.start and not self.works.incoming[number]:
            return
        stack = self._stack_at(node)
        only = self.works.incoming[number]
        source = self.works.all.get(only[0]) if len(only) == 1 else None
        if source is not None and self._goes_on(source, node):
            self.works.remove_edge(source, number)
            self._run_block(source, node)
            return
        work = Work(number, self._scope(node), stack=stack)
        work.before = self._before(node)
        self.works.add(work)
        self.done.append(number)
        self._run_block(work, node)

    def _scope(self, node: Node) -> int:
        regions = self.graph.regions
        if node.number < 0:
            return regions.flow.handler(FINALLY_END - node.number)
        if node.enters >= 0:
            return next(
                one for one in regions.chain(node.enters)[1:] if regions.kinds.get(one) != NAMED
            )
        return regions.scope(node.number)

    def _before(self, node: Node) -> Shape:
        if node.number < 0:
            return (self.flow.shapes[FINALLY_END - node.number] or ())[:-1]
        while not node.indices:
            node = self.graph.nodes[node.successors[0]]
        return self.flow.shapes[node.number] or ()

    def _goes_on(self, source: Work, node: Node) -> bool:
        return (
            source.kind == NEXT
            and source.region == self._scope(node)
            and bool(node.indices)
            and node.number not in self.headers
            and len(source.stack) == len(self.flow.shapes[node.number] or ())
        )

    def _stack_at(self, node: Node) -> list[ast.expr]:
        """What is on the stack at the start of a block; values that differ are put together."""
        if node.number == self.start:
            return []
        stacks = self._incoming_stacks(node)
        if not stacks:
            raise Unstructured(f"{self.flow.code.co_name}: a loop has a second entry")
        if self._agree(stacks):
            return list(stacks[0])
        for number in reversed(self.done):
            work = self.works.all.get(number)
            while work is not None and self.conditions.combine(work):
                stacks = self._incoming_stacks(node)
                if self._agree(stacks):
                    return list(stacks[0])
        raise Unstructured(f"{self.flow.code.co_name}: values of no expression meet on the stack")

    def _agree(self, stacks: list[list[ast.expr]]) -> bool:
        first = stacks[0]
        return all(
            len(first) == len(other)
            and all(
                one is two or (isinstance(one, marks.Mark) and type(one) is type(two))
                for one, two in zip(first, other, strict=True)
            )
            and not (len(stacks) > 1 and other and isinstance(other[-1], marks.Branch))
            for other in stacks
        )

    def _incoming_stacks(self, node: Node) -> list[list[ast.expr]]:
        found = []
        for number in dict.fromkeys(self.works.incoming[node.number]):
            source = self.works.all.get(number)
            if source is None:
                continue
            for at, successor in enumerate(source.successors):
                if successor == node.number:
                    found.append(self._fitted(source, at, node))
        return found

    def _fitted(self, source: Work, at: int, node: Node) -> list[ast.expr]:
        machine, stack = self.machine, list(source.stack)
        if source.chain_branch == at and stack:
            stack.pop()
        if source.kind == TEST and source.keeps[at]:
            stack.append(marks.Branch())
        if source.kind == LOOP and at == 0:
            stack += [marks.Iterator(source.number), marks.Received()]
        if source.kind == ENTRY:
            return self._at_handler(source, at, node)
        machine.stack = stack
        machine.fit(self._before(node))
        return machine.stack

    def _at_handler(self, source: Work, at: int, node: Node) -> list[ast.expr]:
        if at == 0:
            return list(source.stack)
        region = source.enters
        shape = self.flow.shapes[region] or ()
        if self.graph.regions.kinds[region] == WITH:
            return source.stack[: len(self._before(node))]
        kept = [marks.Kept() for one in shape if one[0] == LASTI][:1]
        depth = len(shape) - 1 - len(kept)
        return [*source.stack[:depth], *kept, marks.Caught()]

    def _run_block(self, work: Work, node: Node) -> None:
        machine, found = self.machine, self.flow.instructions
        machine.stack, machine.statements = work.stack, work.statements
        work.kind, work.enters = NEXT, node.enters
        work.successors = list(node.successors)
        for other in work.successors:
            incoming = self.works.incoming[other]
            if node.number != work.number and node.number in incoming:
                incoming[incoming.index(node.number)] = work.number
        if node.enters >= 0:
            work.kind = ENTRY
        for index in node.indices:
            instruction = found[index]
            if instruction.op in TESTS:
                self._test(work, index, instruction)
            elif instruction.op in LOOPS:
                self._loop(work, instruction)
            else:
                machine.run(instruction)
        work.stack, work.statements = machine.stack, machine.statements
        if not work.successors and work.kind == NEXT:
            work.kind = END
            if node.indices and found[node.indices[-1]].op == "RERAISE":
                work.raises_again = True

    def _loop(self, work: Work, instruction: Instruction) -> None:
        iterated = self.machine.pop()
        work.kind, work.test = LOOP, iterated
        work.is_async = instruction.op == "ASYNC_FOR_ITER"

    def _test(self, work: Work, index: int, instruction: Instruction) -> None:
        is_case = instruction.op == MATCH_CASE
        value = self.machine.matched(instruction) if is_case else self.machine.pop()
        if len(work.successors) != 2:
            raise CorruptCode(f"{self.flow.code.co_name}: a branch with one way")
        work.kind = TEST
        following, target = work.successors
        op = instruction.op
        jumps_if_true = "TRUE" in op or op == "POP_JUMP_IF_NOT_NONE"
        if isinstance(value, marks.CaughtGroup):
            value, jumps_if_true = marks.Matches(value.type), False
        elif op.endswith("NONE"):
            operator: ast.cmpop = ast.IsNot()
            if isinstance(value, Shared):  # the end of a chain, which fails where it jumps
                operator = ast.Is() if jumps_if_true else ast.IsNot()
                jumps_if_true = False
            value = ast.Compare(value, [operator], [ast.Constant(None)])
        value.lineno = index
        work.test = value
        keeps = op in KEEPS
        if jumps_if_true:
            work.successors, work.keeps = [target, following], (keeps, False)
        else:
            work.successors, work.keeps = [following, target], (False, keeps)
        if self.graph.unwinding.is_chain(index):
            work.chain_branch = 0 if jumps_if_true else 1
