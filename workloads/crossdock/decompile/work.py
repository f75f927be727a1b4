"""Blocks after their instructions were run on symbols: statements, and how they end."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from crossdock.decompile.flow import Shape

NEXT, TEST, LOOP, END, ENTRY = "next", "test", "loop", "end", "entry"
"""How a block ends: it goes on, branches, is the header of ``for``, leaves, enters a statement."""

OUTSIDE_CALL = -(1 << 62)
"""No block: where control comes from at the start."""


@dataclass(slots=True, eq=False)
class Work:
    """A block. ``successors`` of TEST: if true, if false; of LOOP: body, exit; of ENTRY: body,
    handler. ``keeps`` says of the branches of a TEST whether the tested value stays on the stack.
    ``before`` is the shape of the stack at its first instruction.
    """

    number: int
    region: int
    kind: str = NEXT
    statements: list[ast.stmt] = field(default_factory=list)
    stack: list[ast.expr] = field(default_factory=list)
    successors: list[int] = field(default_factory=list)
    test: ast.expr | None = None
    keeps: tuple[bool, bool] = (False, False)
    enters: int = -1
    is_async: bool = False
    before: Shape = ()
    raises_again: bool = False
    chain_branch: int = -1
    """Of a TEST in a chain of comparisons: the branch that drops the value kept for the next."""

    def is_pure(self) -> bool:
        """Whether it does nothing but compute a value."""
        return not self.statements


class Works:
    """All blocks, and from where each is reached (as often as there are edges)."""

    def __init__(self) -> None:
        self.all: dict[int, Work] = {}
        self.incoming: defaultdict[int, list[int]] = defaultdict(list)
        self.fresh = 0

    def add(self, work: Work) -> None:
        """A block that has run."""
        self.all[work.number] = work

    def new_number(self) -> int:
        """For a block that is made by splitting another."""
        self.fresh += 1
        return self.fresh

    def only_from(self, number: int, source: Work) -> bool:
        """Whether there is just one edge to a block."""
        return self.incoming[number] == [source.number]

    def relink(self, work: Work, successors: Iterable[int]) -> None:
        """Change where a block leads."""
        for successor in work.successors:
            self.incoming[successor].remove(work.number)
        work.successors = list(successors)
        for successor in work.successors:
            self.incoming[successor].append(work.number)

    def remove_edge(self, work: Work, number: int) -> None:
        """A block is about to be taken in by the one before it."""
        self.incoming[number].remove(work.number)
        work.successors.remove(number)

    def remove(self, work: Work) -> None:
        """Forget a block that another has taken in."""
        self.relink(work, ())
        del self.all[work.number]
