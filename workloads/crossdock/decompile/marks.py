"""What may be on the symbolic stack beside expressions of the source.

All are nodes of ``ast`` so that they can stand in expressions for a while; none may be left there.
"""

from __future__ import annotations

import ast
from types import CodeType

from crossdock.decompile.errors import Unstructured

ITERATED = ".0"
"""The name of the argument of a comprehension."""


class Mark(ast.expr):
    """Not of the source: for the interpreter's use only."""

    _fields = ()


class Null(Mark):
    """What is pushed where a method call would have ``self``."""


class Iterator(Mark):
    """The iterator of the ``for`` loop whose header is ``loop``."""

    def __init__(self, loop: int) -> None:
        super().__init__()
        self.loop = loop


class Kept(Mark):
    """What the interpreter keeps in a ``with`` statement or a handler."""


class Caught(Mark):
    """The exception of a handler."""


class BuildClass(Mark):
    """The function that makes classes."""


class Result(Mark):
    """What a comprehension adds to and returns."""


class Assertion(Mark):
    """The class AssertionError, as ``assert`` takes it."""


class ClassNames(Mark):
    """What the compiler keeps for names of a class, and for type parameters."""


class GenericBase(Mark):
    """The base that a class with type parameters has of itself."""


class TypeParameter(ast.expr):
    """A type parameter; ``kind`` is the name of its node."""

    _fields = ()

    def __init__(self, kind: str, name: str, bound: ast.expr | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.name = name
        self.bound = bound
        self.default: ast.expr | None = None


class TypeAlias(ast.expr):
    """What a ``type`` statement makes."""

    _fields = ()

    def __init__(self, name: str, parameters: list[ast.expr], value: ast.expr) -> None:
        super().__init__()
        self.name = name
        self.parameters = parameters
        self.value = value


class Received(ast.expr):
    """A value that a statement gives: the item of a loop, what ``with`` enters, an exception."""

    _fields = ()


class Entered(Received):
    """What a ``with`` statement enters; ``context`` is its manager."""

    def __init__(self, context: ast.expr, is_async: bool) -> None:
        super().__init__()
        self.context = context
        self.is_async = is_async


class CaughtGroup(Caught):
    """The part of a group of exceptions that is of a type, None for none."""

    def __init__(self, type_: ast.expr) -> None:
        super().__init__()
        self.type = type_


class Subject(Mark):
    """What a ``match`` statement is about."""

    _fields = ("value",)  # type: ignore[assignment]

    def __init__(self, value: ast.expr) -> None:
        super().__init__()
        self.value = value


class Matched(ast.expr):
    """Whether a subject is as a pattern says; ``keeps`` if other cases follow."""

    _fields = ("subject", "pattern")

    def __init__(self, subject: Subject, pattern: ast.pattern, keeps: bool) -> None:
        super().__init__()
        self.subject = subject
        self.pattern = pattern
        self.keeps = keeps


class Branch(Mark):
    """The value of a condition, which one of its branches keeps on the stack."""


class Closure(ast.expr):
    """A cell, for a function that is made."""

    _fields = ()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Matches(ast.expr):
    """Whether the exception of a handler is of a type."""

    _fields = ("type",)

    def __init__(self, type_: ast.expr) -> None:
        super().__init__()
        self.type = type_


class Converted(ast.expr):
    """A value in an f-string, with its conversion: ``!r`` is ``ord("r")``."""

    _fields = ("value",)

    def __init__(self, value: ast.expr, conversion: int) -> None:
        super().__init__()
        self.value = value
        self.conversion = conversion


class Iteration(ast.expr):
    """An iterator over ``value``; ``is_async`` for one that awaits."""

    _fields = ("value",)

    def __init__(self, value: ast.expr, is_async: bool = False) -> None:
        super().__init__()
        self.value = value
        self.is_async = is_async


class Function(ast.expr):
    """A function that is made: code, and what it is made with."""

    _fields = ()

    def __init__(self, code: CodeType) -> None:
        super().__init__()
        self.code = code
        self.defaults: list[ast.expr] = []
        self.keyword_defaults: dict[str, ast.expr] = {}
        self.annotations: dict[str, ast.expr] = {}
        self.annotate: Function | None = None
        self.type_parameters: list[ast.expr] = []


class Annotation(ast.stmt):
    """The annotation of a name in a class or module; ``number`` is that of one that is only there
    if the code came to it."""

    _fields = ("name", "value")

    def __init__(self, name: ast.Name, value: ast.expr, number: object) -> None:
        super().__init__()
        self.name = name
        self.value = value
        self.number = number

    def statement(self) -> ast.stmt:
        """As the source has it."""
        return ast.AnnAssign(self.name, self.value, None, 1)


class Met(ast.expr):
    """The place of the annotation with this number."""

    _fields = ()

    def __init__(self, number: object) -> None:
        super().__init__()
        self.number = number


class InPlace(ast.expr):
    """The value of an augmented assignment, before it is stored."""

    _fields = ("left", "right")

    def __init__(self, left: ast.expr, op: ast.operator, right: ast.expr) -> None:
        super().__init__()
        self.left = left
        self.op = op
        self.right = right


class Imported(ast.expr):
    """A module that is imported; ``names`` are those that ``from`` takes from it."""

    _fields = ()

    def __init__(self, module: str, level: int, listed: tuple[str, ...] | None) -> None:
        super().__init__()
        self.module = module
        self.level = level
        self.listed = listed
        self.names: list[ast.alias] = []


class ImportedName(ast.expr):
    """A name taken from a module."""

    _fields = ()

    def __init__(self, module: Imported, name: str) -> None:
        super().__init__()
        self.module = module
        self.name = name


class Shared(ast.expr):
    """A value that was copied on the stack: ``copies`` of it are still there.

    ``targets`` are those that it has been assigned to so far. A copy that an expression took stays
    in that expression until it is known what for: an augmented assignment, or a chain of
    comparisons, settles it.
    """

    _fields = ()

    def __init__(self, value: ast.expr) -> None:
        super().__init__()
        self.value = value
        self.copies = 1
        self.targets: list[ast.expr] = []
        self.embedded = False
        self.settled = False

    def named(self) -> ast.expr:
        """The value with the names that it was assigned to on the way; settles it."""
        self.settled = True
        value = self.value
        for target in self.targets:
            if not isinstance(target, ast.Name):
                raise Unstructured("a value is stored and then used")
            value = ast.NamedExpr(target, value)
        return value


class Unpacking:
    """A value that is unpacked into targets, which are known one after the other; None stands for
    the one that follows."""

    def __init__(self, value: ast.expr, count: int, star: int = -1) -> None:
        self.value = value
        self.star = star
        self.targets: list[ast.expr | None] = []
        self.count = count

    def target(self) -> ast.expr:
        """All of them."""
        found = [one for one in self.targets if one is not None]
        if self.star >= 0:
            starred = ast.Starred(found[self.star], ast.Store())
            found = [*found[: self.star], starred, *found[self.star + 1 :]]
        return ast.Tuple(found, ast.Store())


class Part(ast.expr):
    """One of the values that an unpacking gives."""

    _fields = ()

    def __init__(self, unpacking: Unpacking, place: int) -> None:
        super().__init__()
        self.unpacking = unpacking
        self.place = place


class Added(ast.expr):
    """An element that a comprehension adds to its result."""

    _fields = ()

    def __init__(self, kind: str, value: ast.expr, key: ast.expr | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.value = value
        self.key = key

    def comprehension(self, generators: list[ast.comprehension]) -> ast.expr:
        """The expression that adds it."""
        if self.key is not None:
            return ast.DictComp(self.key, self.value, generators)
        kind = ast.ListComp if self.kind == "list" else ast.SetComp
        return kind(self.value, generators)


def same(one: object, two: object) -> bool:
    """Whether two expressions are alike."""
    if isinstance(one, Shared) and isinstance(two, Shared):
        return same(one.value, two.value) and same(one.targets, two.targets)
    if type(one) is not type(two):
        return False
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, ast.AST):
        return all(same(getattr(one, key, None), getattr(two, key, None)) for key in one._fields)
    return one == two
