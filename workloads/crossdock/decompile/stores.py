"""Instructions that make statements of values: assignments, deletions, imports, raises."""

from __future__ import annotations

import ast
from abc import abstractmethod
from typing import ClassVar

from crossdock.decompile import marks
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase
from crossdock.decompile.marks import Imported, ImportedName, InPlace, Part, Shared

CO_ASYNC_GENERATOR = 512


class Stores(MachineBase):
    """Stores and what else has an effect."""

    operations: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL"), "op_store"),
        **dict.fromkeys(
            ("DELETE_FAST", "DELETE_NAME", "DELETE_DEREF", "DELETE_GLOBAL"), "op_delete"
        ),
    }

    def op_store(self, instruction: Instruction) -> None:
        """A variable is bound."""
        name = self._bind(instruction)
        self.store(ast.Name(name, ast.Store()))

    def op_delete(self, instruction: Instruction) -> None:
        """A variable is unbound."""
        name = self._bind(instruction)
        self.say(ast.Delete([ast.Name(name, ast.Del())]))

    def _bind(self, instruction: Instruction) -> str:
        name = str(instruction.value)
        if instruction.op.endswith("_GLOBAL"):
            self.names.store_global(name)
        elif instruction.op.endswith("_DEREF"):
            self.names.store_cell(name)
        else:
            self.names.bound.add(name)
        return name

    def op_store_attr(self, instruction: Instruction) -> None:
        """An attribute is set."""
        target = ast.Attribute(self._owner(), self.names.attribute(instruction.value), ast.Store())
        self.store(target)

    def op_delete_attr(self, instruction: Instruction) -> None:
        """An attribute is deleted."""
        self.say(
            ast.Delete(
                [ast.Attribute(self.pop(), self.names.attribute(instruction.value), ast.Del())]
            )
        )

    def op_store_subscr(self, _: Instruction) -> None:
        """An item is set."""
        key, value = self._owner(), self._owner()
        self.store(ast.Subscript(value, key, ast.Store()))

    def op_delete_subscr(self, _: Instruction) -> None:
        """An item is deleted."""
        key, value = self.pop(), self.pop()
        self.say(ast.Delete([ast.Subscript(value, key, ast.Del())]))

    def _owner(self) -> ast.expr:
        """What a target is part of; shared where it is read and then stored."""
        value = self.pop_raw()
        if isinstance(value, Shared) and value.embedded:
            value.copies -= 1
            return value
        return self._used(value) if isinstance(value, Shared) else value

    def op_unpack_sequence(self, instruction: Instruction) -> None:
        """Targets in a row."""
        self.unpack(instruction.arg)

    def op_unpack_ex(self, instruction: Instruction) -> None:
        """Targets in a row, one of them with a star."""
        before, after = instruction.arg & 255, instruction.arg >> 8
        self.unpack(before + 1 + after, before)

    def op_pop_top(self, _: Instruction) -> None:
        """A value that nobody wants: an expression as a statement."""
        value = self.pop_raw()
        if isinstance(value, ImportedName):
            return  # of import a.b.c as d
        if isinstance(value, Imported):
            self._import_from(value)
        elif isinstance(value, Shared):
            value.copies -= 1
            if value.copies or not value.targets:
                raise Unstructured(f"{self.flow.code.co_name}: a copied value is dropped")
            self._discard(value.named())
        elif isinstance(value, Part):
            self.drop_part(value)
        else:
            self._discard(value)

    def _discard(self, value: ast.expr) -> None:
        if isinstance(value, ast.Constant):  # which no expression leaves in the bytecode
            anything = ast.match_case(ast.MatchAs(None, None), None, [ast.Pass()])
            self.say(ast.Match(value, [anything]))
        elif not isinstance(value, marks.Mark | marks.Received):
            self.say(ast.Expr(value))

    def op_import_name(self, instruction: Instruction) -> None:
        """A module."""
        listed, level = self.pop(), self.pop()
        if not isinstance(listed, ast.Constant) or not isinstance(level, ast.Constant):
            raise Unstructured(f"{self.flow.code.co_name}: an import without constants")
        names = listed.value if isinstance(listed.value, tuple) else None
        depth = level.value if isinstance(level.value, int) else 0
        self.push(Imported(str(instruction.value), depth, names))

    def op_import_from(self, instruction: Instruction) -> None:
        """A name of a module."""
        module = self.stack[-1] if self.stack else None
        if isinstance(module, ImportedName):
            module = module.module  # import a.b.c as d
        if not isinstance(module, Imported):
            raise Unstructured(f"{self.flow.code.co_name}: a name is taken from no module")
        self.push(ImportedName(module, str(instruction.value)))

    def op_import_star(self, _: Instruction) -> None:
        """All names of a module."""
        module = self.pop_raw()
        if not isinstance(module, Imported):
            raise Unstructured(f"{self.flow.code.co_name}: all names are taken from no module")
        module.names.append(ast.alias("*"))
        self._import_from(module)

    def _import_from(self, module: Imported) -> None:
        if module.names:
            self.say(ast.ImportFrom(module.module or None, module.names, module.level))
        elif module.listed is not None:
            raise Unstructured(f"{self.flow.code.co_name}: an import of nothing")

    def assignment(self, targets: list[ast.expr], value: ast.expr) -> ast.stmt:
        """An assignment, or what else has the form of one."""
        if isinstance(value, InPlace):
            return self._augmented(targets, value)
        if isinstance(value, Imported):
            return self._import(targets, value)
        return self.definition(targets, value) or ast.Assign(targets, value)

    @abstractmethod
    def definition(self, targets: list[ast.expr], value: ast.expr) -> ast.stmt | None:
        """The statement, if a function or a class is assigned. Given by ``Calls``."""

    def store(self, target: ast.expr) -> None:
        """Names of imports do not make a statement each."""
        value = self.stack[-1] if self.stack else None
        if isinstance(value, ImportedName) and isinstance(target, ast.Name):
            self.stack.pop()
            self._store_imported(value, target.id)
        else:
            super().store(target)

    def _store_imported(self, value: ImportedName, name: str) -> None:
        module = value.module
        if module.listed is None:  # import a.b as name
            self.say(ast.Import([ast.alias(module.module, name)]))
            return
        alias = None if name == value.name else name
        module.names.append(ast.alias(value.name, alias))

    def _import(self, targets: list[ast.expr], value: Imported) -> ast.stmt:
        target = targets[0]
        if len(targets) > 1 or not isinstance(target, ast.Name) or value.level:
            raise Unstructured(f"{self.flow.code.co_name}: an import is assigned")
        same = target.id == value.module.partition(".")[0]
        return ast.Import([ast.alias(value.module, None if same else target.id)])

    def _augmented(self, targets: list[ast.expr], value: InPlace) -> ast.stmt:
        target = targets[0]
        if len(targets) == 1 and self._same_place(target, value.left):
            return ast.AugAssign(target, value.op, value.right)  # type: ignore[arg-type]
        raise Unstructured(f"{self.flow.code.co_name}: an operator in place without a place")

    def _same_place(self, target: ast.expr, left: ast.expr) -> bool:
        if isinstance(target, ast.Name) and isinstance(left, ast.Name):
            return target.id == left.id
        if isinstance(target, ast.Attribute) and isinstance(left, ast.Attribute):
            return target.attr == left.attr and self._settle(target, left, "value")
        if isinstance(target, ast.Subscript) and isinstance(left, ast.Subscript):
            return self._settle(target, left, "value") and self._settle(target, left, "slice")
        return False

    def _settle(self, target: ast.expr, left: ast.expr, field: str) -> bool:
        shared = getattr(target, field)
        if isinstance(shared, ast.Slice):
            other = getattr(left, field)
            parts = [part for part in ("lower", "upper") if getattr(shared, part) is not None]
            return isinstance(other, ast.Slice) and all(
                self._settle(shared, other, part) for part in parts
            )
        if not isinstance(shared, Shared) or shared is not getattr(left, field):
            return False
        setattr(target, field, shared.named())
        return True

    def op_raise_varargs(self, instruction: Instruction) -> None:
        """An exception."""
        parts: list[ast.expr | None] = [*self.pop_many(instruction.arg), None, None]
        message = _assertion(parts[0]) if instruction.arg == 1 else None
        if message is None:
            self.say(ast.Raise(parts[0], parts[1]))
        else:
            self.say(ast.Assert(ast.Constant(False), message[0] if message else None))

    def op_return_value(self, _: Instruction) -> None:
        """The result."""
        value = self.pop()
        self.stack = [one for one in self.stack if not isinstance(one, marks.Mark)]
        is_none = isinstance(value, ast.Constant) and value.value is None
        if is_none and self.flow.code.co_flags & CO_ASYNC_GENERATOR:
            self.say(ast.Return(None))  # with a value it does not compile
        else:
            self.say(ast.Return(value))

    def op_setup_annotations(self, _: Instruction) -> None:
        """The dictionary of annotations: made by any annotation."""

    def op_load_assertion_error(self, _: Instruction) -> None:
        """What assert raises."""
        self.push(marks.Assertion())


def _assertion(raised: ast.expr | None) -> list[ast.expr] | None:
    """The message of what ``assert`` raises, in a list; None if it raises something else."""
    if isinstance(raised, marks.Assertion):
        return []
    if isinstance(raised, ast.Call) and isinstance(raised.func, marks.Assertion):
        return raised.args[:1]
    return None
