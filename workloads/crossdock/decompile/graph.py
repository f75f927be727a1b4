"""The graph of control in the source: blocks of instructions, and where statements are entered.

Nodes are numbered. A block has the index of its first instruction; the entry of the statement whose
handler is h has ``len(instructions) + h``; the end of a ``finally`` clause has a negative number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from crossdock.decompile.errors import Unstructured
from crossdock.decompile.flow import Flow
from crossdock.decompile.regions import FINALLY, OUTSIDE, STATEMENTS, WITH, Regions
from crossdock.decompile.unwind import Unwinding


@dataclass(slots=True, eq=False)
class Node:
    """A block, or the entry of a statement (``enters`` is its region), or the end of a clause."""

    number: int
    region: int
    indices: list[int] = field(default_factory=list)
    successors: list[int] = field(default_factory=list)
    enters: int = OUTSIDE


class Graph:
    """Nodes by number, and the number of the first. ``joins_all``: see ``unwind``."""

    def __init__(self, flow: Flow, joins_all: bool = False) -> None:
        self.flow = flow
        self.regions = Regions(flow)
        self.unwinding = Unwinding(flow, self.regions, joins_all)
        self.nodes: dict[int, Node] = {}
        self._edges: dict[int, list[int]] = {}
        start = self.unwinding.resolve(0, 0) if flow.handler(0) < 0 else 0
        self._collect(start)
        self._make_blocks(start)
        self.start = self._enter(OUTSIDE, start)

    def statements(self, region: int) -> tuple[int, ...]:
        """The region and those around it, without what is around handlers."""
        kinds = self.regions.kinds
        return tuple(
            one for one in self.regions.chain(region) if kinds.get(one, FINALLY) in STATEMENTS
        )

    def _collect(self, start: int) -> None:
        todo = [start]
        while todo:
            index = todo.pop()
            if index < 0 or index in self._edges:
                continue
            self._edges[index] = following = self.unwinding.successors(index)
            todo += following
            for region in self.statements(self.regions.at(index)):
                if region != OUTSIDE:
                    todo.append(self._handled(region))

    def _handled(self, region: int) -> int:
        """Where control goes when an exception comes to a statement."""
        if self.regions.kinds[region] == WITH:
            return self.unwinding.after_with(region)
        return region

    def _make_blocks(self, start: int) -> None:
        incoming = Counter(target for targets in self._edges.values() for target in targets)
        chained: dict[int, int] = {}
        for index, targets in self._edges.items():
            if len(targets) == 1 and self._continues(index, targets[0], incoming):
                chained[index] = targets[0]
        inner = set(chained.values()) - {start}
        handled = {self._handled(region) for region in self._entered()}
        for first in self._edges:
            if first in inner and first not in handled:
                continue
            block = [first]
            while block[-1] in chained and chained[block[-1]] not in handled | {start}:
                block.append(chained[block[-1]])
            region = self.regions.statement(first)
            node = self.nodes[first] = Node(first, region, block)
            node.successors = [self._enter(region, target) for target in self._edges[block[-1]]]

    def _continues(self, index: int, target: int, incoming: Counter[int]) -> bool:
        return (
            target >= 0
            and incoming[target] == 1
            and target != index
            and self.regions.statement(index) == self.regions.statement(target)
            and self.flow.skip(index + 1) == target
        )

    def _entered(self) -> set[int]:
        found: set[int] = set()
        for index in self._edges:
            found.update(self.statements(self.regions.at(index)))
        return found - {OUTSIDE}

    def _enter(self, region: int, target: int) -> int:
        """The node that an edge from a region to a block leads to: maybe an entry."""
        if target < 0:
            self.nodes.setdefault(target, Node(target, region))
            return target
        inside = self.statements(self.regions.at(target))
        around = self.statements(region)
        following = target
        for entered in inside:
            if entered in around:
                break
            following = self._entry(entered, following)
        return following

    def _entry(self, region: int, body: int) -> int:
        number = len(self.flow.instructions) + region
        known = self.nodes.get(number)
        if known is None:
            around = self.statements(region)[1]
            known = self.nodes[number] = Node(number, around, enters=region)
            known.successors = [body]
            known.successors.append(self._enter(around, self._handled(region)))
        elif known.successors[0] != body:
            raise Unstructured(f"{self.flow.code.co_name}: a try statement has two entries")
        return number
