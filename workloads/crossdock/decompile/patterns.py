"""What a ``case`` compiles to, read back as a pattern.

Instructions of a pattern are run on places: the subject and its parts. A test says something of a
place, and leads on if that is so; where it is not, control drops what the pattern has put on the
stack and goes to the next case. So a pattern is what is known where the last test has led on. Only
alternatives fork, and come together again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ANY, NAMELESS, VALUE, SINGLETON = "any", "nameless", "value", "singleton"
SEQUENCE, MAPPING, CLASS, OR = "sequence", "mapping", "class", "or"
"""NAMELESS is ``_`` where a name follows: ``_ as x``."""
JOINED = "joined"
"""One place in each alternative, of which one is taken."""

Step = tuple[str, int, object]
"""An instruction of an expression: its name, its argument, and what that stands for."""
Steps = tuple[Step, ...]


@dataclass(slots=True)
class Pattern:
    """A place: what is known of it, and the names that it is bound to.

    ``parts`` are elements, values of ``keys``, attributes (those of ``names`` last), alternatives.
    ``bound`` has the instruction that stores, and its name; so has ``rest``, for what ``**`` takes.
    """

    kind: str = ANY
    value: Steps = ()
    parts: list[Pattern] = field(default_factory=list)
    star: int = -1
    keys: tuple[Steps, ...] = ()
    names: tuple[str, ...] = ()
    rest: tuple[str, str] | None = None
    bound: list[tuple[str, str]] = field(default_factory=list)
    length: tuple[str, int] | None = None
    items: dict[int, Pattern] = field(default_factory=dict)
    """Elements that are looked up one by one, by index; those from the end are negative."""

    def bind(self, op: str, name: str) -> None:
        """Give it a name."""
        if self.kind == JOINED:
            for part in self.parts:
                part.bind(op, name)
        else:
            self.bound.append((op, name))

    def item(self, index: int) -> Pattern:
        """An element that is looked up."""
        return self.items.setdefault(index, Pattern())

    def finish(self) -> None:
        """Give a sequence that was not unpacked its elements."""
        if self.kind == SEQUENCE and not self.parts:
            op, count = self.length or (">=", 0)
            self.parts = [Pattern() for _ in range(count)]
            if op == ">=":
                last = max((-index for index in self.items if index < 0), default=0)
                self.star = count - last
                self.parts.insert(self.star, Pattern())
            for index, part in self.items.items():
                self.parts[index] = part
        self.length, self.items = None, {}
        for part in self.parts:
            part.finish()


@dataclass(frozen=True, slots=True)
class Expression:
    """A value that a pattern compares with: its instructions."""

    steps: Steps

    @property
    def constant(self) -> object:
        """The constant that it is, else itself."""
        if len(self.steps) == 1 and self.steps[0][0] == "LOAD_CONST":
            return self.steps[0][2]
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Length:
    """The number of elements of a place."""

    of: Pattern


@dataclass(frozen=True, slots=True, eq=False)
class FromEnd:
    """The index of an element, so far from the end."""

    of: Pattern
    distance: int


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """Whether something is so of a place; ``told`` is what to set there if it is."""

    of: Pattern
    told: dict[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Keys that a mapping is asked for; or the values of them, or attributes of a class."""

    of: Pattern
    count: int
    values: bool = False

    def expand(self) -> None:
        """Give the place its parts, where they are not unpacked but looked up one by one."""
        if not self.of.parts:
            self.of.parts = [Pattern() for _ in range(self.count)]


@dataclass(slots=True, eq=False)
class Rest:
    """What is left of a mapping."""

    of: Pattern | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A key that is deleted from the rest."""


Item = Pattern | Expression | Length | FromEnd | Test | Keys | Rest | Key
"""What is on the stack while a pattern is read."""
