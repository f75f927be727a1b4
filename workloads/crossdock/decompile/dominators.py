"""Orders and dominators of graphs.

Dominators after Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def reverse_postorder(start: int, successors: Callable[[int], Sequence[int]]) -> list[int]:
    """All that can be reached, each before what it leads to, but for loops."""
    order: list[int] = []
    seen = {start}
    path = [(start, iter(reversed(successors(start))))]
    while path:
        node, rest = path[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                path.append((successor, iter(reversed(successors(successor)))))
                break
        else:
            order.append(node)
            path.pop()
    return order[::-1]


def immediate_dominators(
    order: Sequence[int], predecessors: Callable[[int], Iterable[int]]
) -> dict[int, int]:
    """Of each node in reverse postorder, the last node that each way to it passes; of the first
    node itself."""
    place = {node: at for at, node in enumerate(order)}
    found = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            nearest = -1
            for other in predecessors(node):
                at = place.get(other)
                if at is None or other not in found:
                    continue
                nearest = at if nearest < 0 else _meet(found, place, order, nearest, at)
            if nearest >= 0 and found.get(node) != order[nearest]:
                found[node] = order[nearest]
                changed = True
    return found


def _meet(
    found: dict[int, int], place: dict[int, int], order: Sequence[int], one: int, two: int
) -> int:
    while one != two:
        while one > two:
            one = place[found[order[one]]]
        while two > one:
            two = place[found[order[two]]]
    return one
