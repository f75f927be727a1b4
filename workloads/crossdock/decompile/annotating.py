"""Annotations of classes and modules as statements, where the code noted that they were met."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import CodeType
from typing import Any, ClassVar

from crossdock.decompile import late, marks, signatures
from crossdock.decompile.conditions import negated
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.machine import MachineBase

_OTHER_BODIES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Annotating(MachineBase):
    """The instructions that ``late`` makes."""

    operations: ClassVar[dict[str, str]] = {}

    def op_annotations(self, _: Instruction) -> None:
        """The dictionary that takes all annotations."""
        self.push(marks.Result())

    def op_annotated_if(self, instruction: Instruction) -> None:
        """The number of the annotation that follows."""
        self.number = instruction.value

    def op_annotation(self, instruction: Instruction) -> None:
        """An annotation."""
        name = ast.Name(str(instruction.value), ast.Store())
        self.say(marks.Annotation(name, self.pop(), self.number))
        self.number = None

    def op_annotated(self, instruction: Instruction) -> None:
        """The place of the annotation with this number."""
        self.say(ast.Expr(marks.Met(instruction.value)))


def of_function(body: list[ast.stmt], code: CodeType) -> dict[str, ast.expr]:
    """What a function that computes annotations returns for the names of another's arguments."""
    kept = signatures.parsed if signatures.has_texts(code) else signatures.starred
    value = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None
    if not isinstance(value, ast.Dict):
        raise Unstructured(f"{late.NAME}: annotations are no dictionary")
    return dict(zip(map(_text, value.keys), map(kept, value.values), strict=True))


def of_body(body: list[ast.stmt]) -> list[marks.Annotation]:
    """What it notes of a class or a module, in the order of the source."""
    if not body or not isinstance(body.pop(), ast.Return):
        raise Unstructured(f"{late.NAME}: annotations are not returned")
    return [_expected(one) for one in body]


def _expected(one: ast.stmt) -> marks.Annotation:
    if isinstance(one, marks.Annotation):
        return one
    raise Unstructured(f"{late.NAME}: a {type(one).__name__} between annotations")


def _text(key: ast.expr | None) -> str:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    raise Unstructured(f"{late.NAME}: what is annotated has no name")


def placed(body: list[ast.stmt], notes: list[marks.Annotation]) -> list[ast.stmt]:
    """The statements of a class or module with annotations: those with a number where they were
    met, others with the assignment to their name, or after the one before."""
    last = {_assigned(one): at for at, one in enumerate(body)}
    waiting, found = list(notes), list[ast.stmt]()
    follows = not body or _assigned(body[0]) != "__doc__"
    for at, one in enumerate(body):
        while waiting and follows and _stands_alone(waiting[0], last, at):
            found.append(waiting.pop(0).statement())
        numbers = [mark.number for mark in ast.walk(one) if isinstance(mark, marks.Met)]
        mine = [note for note in waiting if _belongs(note, one, numbers)]
        first = waiting.index(mine[0]) if mine else 0
        found += map(_bare, waiting[:first])
        found.append(_Places(waiting).visit(one))
        waiting = waiting[first:]
        if numbers:
            waiting = [note for note in waiting if note.number not in numbers]
        elif mine:
            found.append(waiting.pop(0).statement())
        follows = bool(mine) or not at
    return _joined([*found, *map(_bare, waiting)])


def _stands_alone(note: marks.Annotation, last: dict[str | None, int], at: int) -> bool:
    """Whether nothing from this place on is what it belongs to."""
    return note.number is None and last.get(note.name.id, -1) < at


def _belongs(note: marks.Annotation, one: ast.stmt, numbers: list[object]) -> bool:
    if numbers:
        return note.number in numbers
    return note.number is None and _assigned(one) == note.name.id


def _bare(note: marks.Annotation) -> ast.stmt:
    """A statement of its own; one that the code never meets is under what never holds."""
    made = note.statement()
    return made if note.number is None else ast.If(ast.Constant(False), [made], [])


def with_texts(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with annotations for the strings that the code stores."""
    return _joined([_Texts().visit(one) for one in body])


class _Statements(ast.NodeTransformer, ABC):
    """Changes statements of one body. ``changed`` gives another for one, None to look inside."""

    @abstractmethod
    def changed(self, one: ast.stmt) -> ast.stmt | None:
        """Given by each kind."""

    def visit(self, node: ast.AST) -> Any:
        """Lists of statements are joined after all that is in them."""
        if isinstance(node, (ast.expr, *_OTHER_BODIES)):
            return node
        other = self.changed(node) if isinstance(node, ast.stmt) else None
        if other is not None:
            return other
        if isinstance(node, ast.If) and _first_met(node.orelse) < _first_met(node.body):
            node.test, node.body, node.orelse = negated(node.test), node.orelse, node.body
        self.generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            if getattr(node, name, None):
                setattr(node, name, _joined(getattr(node, name)))
        return node


class _Places(_Statements):
    """Puts annotations where they are met."""

    def __init__(self, notes: list[marks.Annotation]) -> None:
        self.notes = {note.number: note for note in notes}

    def changed(self, one: ast.stmt) -> ast.stmt | None:
        """The annotation, for its place."""
        value = one.value if isinstance(one, ast.Expr) else None
        note = self.notes.get(value.number) if isinstance(value, marks.Met) else None
        return None if note is None else note.statement()


class _Texts(_Statements):
    """Puts annotations for the items of their dictionary that are strings."""

    def changed(self, one: ast.stmt) -> ast.stmt | None:
        """The annotation, for the assignment of an item."""
        found = signatures.annotation(one)
        if isinstance(found, ast.AnnAssign):
            found.annotation = signatures.parsed(found.annotation)
        return found


def _first_met(body: list[ast.stmt]) -> int:
    """The lowest number of an annotation in statements, which is that of the first."""
    marked = [one for statement in body for one in ast.walk(statement)]
    numbers = [one.number for one in marked if isinstance(one, marks.Met)]
    return min((one for one in numbers if isinstance(one, int)), default=1 << 62)


def _joined(body: list[ast.stmt]) -> list[ast.stmt]:
    """``x = 1`` and ``x: int`` are one statement."""
    found: list[ast.stmt] = []
    for one in body:
        name = one.target.id if _is_bare(one) else None  # type: ignore[attr-defined]
        last = found[-1] if found else None
        if name is not None and isinstance(last, ast.Assign) and _assigned(last) == name:
            found.pop()
            one.value = last.value  # type: ignore[attr-defined]
        found.append(one)
    return found


def _is_bare(one: ast.stmt) -> bool:
    return isinstance(one, ast.AnnAssign) and one.value is None


def _assigned(one: ast.stmt | None) -> str | None:
    """The one name that a statement assigns to."""
    if isinstance(one, ast.Assign) and len(one.targets) == 1:
        target = one.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    return None


def nameless(body: list[ast.stmt], code: CodeType, collects: bool) -> list[ast.stmt]:
    """A statement that leaves what annotations of no plain name leave, where they left something:
    the variables of annotations, under a condition or not, and their dictionary if there is one."""
    note = ast.AnnAssign(ast.Name("_", ast.Store()), ast.Constant(None), None, 0)
    plain = [one for one in body if isinstance(one, ast.AnnAssign)]
    inner = [one for statement in body for one in _inside(statement)]
    if late.MET in code.co_cellvars and not (
        any(isinstance(one, ast.AnnAssign) for one in inner)
        or (plain and code.co_name == "<module>")
    ):
        return [ast.If(ast.Constant(False), [note], [])]
    used = {name for one in code.co_consts if isinstance(one, CodeType) for name in one.co_freevars}
    some = plain or any(isinstance(one, ast.AnnAssign) for one in inner)
    leaves = collects or "__classdict__" in set(code.co_cellvars) - used
    return [note] if leaves and not some else []


def _inside(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements in another of the same body."""
    if not isinstance(statement, _OTHER_BODIES):
        for one in ast.iter_child_nodes(statement):
            if isinstance(one, ast.stmt):
                yield one
            if isinstance(one, ast.stmt | ast.ExceptHandler | ast.match_case):
                yield from _inside(one)  # type: ignore[arg-type]


def alone(notes: list[marks.Annotation]) -> Iterator[ast.stmt]:
    """Statements that leave nothing but these annotations."""
    for note in notes:
        made = note.statement()
        yield made if note.number is None else ast.If(ast.Constant(True), [made], [])
