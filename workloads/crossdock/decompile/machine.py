"""Runs the instructions of a block on a stack of expressions, and collects statements.

Nothing of the code is executed: values are nodes of ``ast``. Instructions are in the classes that
``symbolic.Machine`` joins; here is what they share.
"""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from crossdock.decompile import marks
from crossdock.decompile.errors import CorruptCode, Unstructured
from crossdock.decompile.flow import VALUE, Flow, Shape
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.marks import Part, Received, Shared, Unpacking
from crossdock.decompile.names import Names


class MachineBase(ABC):
    """The stack of the block that is run, and the statements that came of it.

    ``shared`` are all values that were copied; those that an expression took and nothing settled
    make the code Unstructured. ``number`` is that of the annotation which is computed.
    """

    operations: ClassVar[dict[str, str]] = {}

    def __init__(self, flow: Flow, names: Names) -> None:
        self.flow = flow
        self.names = names
        self.stack: list[ast.expr] = []
        self.statements: list[ast.stmt] = []
        self.shared: list[Shared] = []
        self.keywords: tuple[str, ...] = ()
        self.number: object = None
        self._serial = 0
        self._parallel: list[tuple[ast.expr, ast.expr]] = []
        self._run: dict[str, Callable[[Instruction], None]] = {
            op: getattr(self, name) for op, name in self.operations.items()
        }

    def run(self, instruction: Instruction) -> None:
        """One instruction. Unstructured for one that no source makes at this place."""
        action = self._run.get(instruction.op)
        if action is None:
            raise Unstructured(f"{self.flow.code.co_name}: {instruction.op} has no form in source")
        action(instruction)

    def push(self, value: ast.expr) -> None:
        """A new value."""
        self._serial += 1
        value.lineno = self._serial  # in which order values were computed
        self.stack.append(value)

    def pop(self) -> ast.expr:
        """The top, to stand in an expression."""
        value = self.pop_raw()
        if isinstance(value, Shared):
            return self._used(value)
        if isinstance(value, marks.InPlace):
            raise Unstructured(f"{self.flow.code.co_name}: an operator in place without a place")
        return value

    def pop_raw(self) -> ast.expr:
        """The top, as it is; it may be Shared."""
        if not self.stack:
            raise CorruptCode(f"{self.flow.code.co_name}: a value is taken from an empty stack")
        return self.stack.pop()

    def pop_many(self, count: int) -> list[ast.expr]:
        """So many, the deepest first."""
        return [self.pop() for _ in range(count)][::-1]

    def say(self, statement: ast.stmt) -> None:
        """A statement; Unstructured while values wait on the stack that were computed before."""
        if self._parallel or any(self._waits(value) for value in self.stack):
            raise Unstructured(f"{self.flow.code.co_name}: a statement amid an expression")
        self.statements.append(statement)

    def store(self, target: ast.expr) -> None:
        """Assign the top of the stack."""
        value = self.pop_raw()
        if isinstance(value, Shared):
            value.copies -= 1
            value.targets.append(target)
            if not value.copies:
                self._assign(value.targets, self._plain(value))
        elif isinstance(value, Part):
            self._store_part(value, target)
        else:
            self._assign([target], value)

    def unpack(self, count: int, star: int = -1) -> None:
        """Replace the top of the stack by its parts."""
        value = self.stack.pop() if self.stack else self.pop_raw()
        unpacking = Unpacking(value, count, star)
        if not count:
            self._unpacked(unpacking)
        for place in reversed(range(count)):
            self.stack.append(Part(unpacking, place))

    def fit(self, shape: Shape | None) -> None:
        """Drop what leaving a statement drops, on the way to where the stack has this shape."""
        height = len(shape or ())
        if len(self.stack) > height:
            values = [one for one in self.stack if self._waits(one)]
            self.stack = self.stack[:height]
            if shape and shape[-1][0] == VALUE and values:
                self.stack[-1] = values[-1]

    def expect_settled(self) -> None:
        """Unstructured where a copied value stands in an expression still."""
        if any(one.embedded and not one.settled for one in self.shared):
            raise Unstructured(f"{self.flow.code.co_name}: a value is used twice")

    def _waits(self, value: ast.expr) -> bool:
        return not isinstance(value, marks.Mark | marks.Imported | marks.ImportedName)

    def _used(self, shared: Shared) -> ast.expr:
        shared.copies -= 1
        if shared.copies or shared.embedded:
            shared.embedded = True
            return shared
        return shared.named()

    def _plain(self, shared: Shared) -> ast.expr:
        shared.settled = True
        return shared.value

    def _store_part(self, part: Part, target: ast.expr) -> None:
        unpacking = part.unpacking
        unpacking.targets = [one or target for one in unpacking.targets]
        if part.place != len(unpacking.targets):
            raise Unstructured(f"{self.flow.code.co_name}: parts are stored out of order")
        unpacking.targets.append(target)
        if len(unpacking.targets) == unpacking.count:
            self._unpacked(unpacking)

    def drop_part(self, part: Part) -> None:
        """A part that the next one replaces at once: both are stored to the same name."""
        if part.place != len(part.unpacking.targets) or part.place + 1 == part.unpacking.count:
            raise Unstructured(f"{self.flow.code.co_name}: a part of a value is dropped")
        part.unpacking.targets.append(None)

    def _unpacked(self, unpacking: Unpacking) -> None:
        self.stack.append(unpacking.value)
        self.store(unpacking.target())

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        if self._parallel or any(self._waits(one) for one in self.stack):
            if len(targets) > 1 or isinstance(value, Received | marks.Mark):
                raise Unstructured(f"{self.flow.code.co_name}: a statement amid an expression")
            self._parallel.append((targets[0], value))
            if any(self._waits(one) for one in self.stack):
                return
            targets, value = self._together()
        self.statements.append(self.assignment(targets, value))

    def _together(self) -> tuple[list[ast.expr], ast.expr]:
        """``a, b = x, y``: the values were all computed before the first was stored."""
        pairs, self._parallel = self._parallel, []
        serials = [value.lineno for _, value in pairs]
        if sorted(serials) not in (serials, serials[::-1]):
            raise Unstructured(f"{self.flow.code.co_name}: values are stored out of order")
        pairs.sort(key=lambda pair: pair[1].lineno)
        if any(isinstance(value, Shared | marks.InPlace | Part) for _, value in pairs):
            raise Unstructured(f"{self.flow.code.co_name}: a statement amid an expression")
        target = ast.Tuple([target for target, _ in pairs], ast.Store())
        return [target], ast.Tuple([value for _, value in pairs], ast.Load())

    @abstractmethod
    def assignment(self, targets: list[ast.expr], value: ast.expr) -> ast.stmt:
        """The statement that assigns; `value` may be a mark. Given by the class that joins all."""
