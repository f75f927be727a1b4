"""All ranks side by side: where they part first, and where else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from crossdock.decompile.cluster.differences import Difference, Side, compare, recompiled
from crossdock.decompile.cluster.steps import Key, Step
from crossdock.decompile.dynamo.index import Line


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """One compilation in which ranks differ."""

    left_ranks: list[int]
    """Most ranks; of equally many, those of the lowest rank."""
    right_ranks: list[int]
    function: Line
    turn: int
    position: int | None
    """Place among the compilations of the main thread."""
    differences: list[Difference]
    """Not empty; causes first."""

    @property
    def first(self) -> Difference:
        return self.differences[0]


def divergences(histories: Mapping[int, Sequence[Step]]) -> list[Divergence]:
    """Where ranks differ, the first first; empty if nowhere.

    Args:
        histories: what each rank has compiled, by rank.
    """
    by_key: dict[Key, dict[int, Step]] = defaultdict(dict)
    for rank, steps in sorted(histories.items()):
        for step in steps:
            by_key[step.key][rank] = step
    parted = _parted(histories)
    told = {step.key for one in parted for step in one[1]}
    found = [divergence for divergence, _ in parted]
    for key, steps_of in by_key.items():
        found += _differing(steps_of)
        absent = sorted(histories.keys() - steps_of.keys())
        if absent and key not in told:
            found.append(_absent(steps_of, absent))
    return sorted(found, key=_order)


def _order(one: Divergence) -> tuple[bool, int, tuple[int, ...]]:
    return (one.position is None, one.position or 0, tuple(one.right_ranks))


def _differing(steps_of: Mapping[int, Step]) -> Iterator[Divergence]:
    """Ranks that compiled the same thing otherwise."""
    groups: dict[str, list[int]] = defaultdict(list)
    for rank, step in steps_of.items():
        groups[step.digest()].append(rank)
    left, *others = most_first(groups.values())
    for right in others:
        divergence = differing(left, steps_of[left[0]], right, steps_of[right[0]])
        if divergence is not None:
            yield divergence


def differing(
    left_ranks: list[int], left: Step, right_ranks: list[int], right: Step
) -> Divergence | None:
    """The divergence of two steps with the same key; None if nothing that counts differs."""
    found = compare(left, right)
    if not found:
        return None
    return Divergence(
        left_ranks=left_ranks,
        right_ranks=right_ranks,
        function=left.user,
        turn=left.turn,
        position=left.position,
        differences=found,
    )


def most_first(groups: Iterable[list[int]]) -> list[list[int]]:
    """Groups of ranks, the largest first, then by their lowest rank."""
    return sorted(map(sorted, groups), key=lambda group: (-len(group), group[0]))


def _absent(steps_of: Mapping[int, Step], absent: list[int]) -> Divergence:
    """Some have not compiled it at all."""
    step = next(iter(steps_of.values()))
    return Divergence(
        left_ranks=sorted(steps_of),
        right_ranks=absent,
        function=step.user,
        turn=step.turn,
        position=step.position,
        differences=[
            Difference(kind="recompile" if step.turn else "missing", left=_why(step), right=None)
        ],
    )


def _why(step: Step) -> Side:
    again = recompiled(step)
    if again is not None:
        return again
    user = step.called_from[-1] if step.called_from else step.user
    return Side(user=user, text=f"compiled {step.user.function}")


def _parted(
    histories: Mapping[int, Sequence[Step]],
) -> list[tuple[Divergence, list[Step]]]:
    """Where the main threads go different ways for the first time."""
    main = {
        rank: [step for step in steps if step.position is not None]
        for rank, steps in histories.items()
    }
    for position in range(max((len(steps) for steps in main.values()), default=0)):
        here = {
            rank: steps[position] if position < len(steps) else None for rank, steps in main.items()
        }
        groups: dict[Key | None, list[int]] = defaultdict(list)
        for rank, step in here.items():
            groups[None if step is None else step.key].append(rank)
        if len(groups) > 1:
            left, *others = most_first(groups.values())
            pairs = [(right, here[left[0]], here[right[0]]) for right in others]
            return [
                (
                    parting(left, ours, right, theirs, position),
                    [step for step in (ours, theirs) if step is not None],
                )
                for right, ours, theirs in pairs
            ]
    return []


def parting(
    left_ranks: list[int],
    left: Step | None,
    right_ranks: list[int],
    right: Step | None,
    position: int,
) -> Divergence:
    """The divergence of ranks that compiled different things as their number ``position``.

    A side that has compiled nothing more is None; not both are.
    """
    steps = [step for step in (right, left) if step is not None]
    step = max(steps, key=lambda one: one.turn)  # the one that was compiled again, if one was
    return Divergence(
        left_ranks=left_ranks,
        right_ranks=right_ranks,
        function=step.user,
        turn=step.turn,
        position=position,
        differences=[_difference(left, right)],
    )


def _difference(left: Step | None, right: Step | None) -> Difference:
    again = [step is not None and step.turn > 0 for step in (left, right)]
    if again[0] != again[1] or left is None or right is None:
        return Difference(
            kind="recompile" if any(again) else "missing",
            left=_why(left) if left is not None else None,
            right=_why(right) if right is not None else None,
        )
    if (left.place, left.user.function) == (right.place, right.user.function):
        return Difference(
            kind="source",
            left=Side(user=left.user, text=f"{left.user.function} begins here"),
            right=Side(user=right.user, text=f"{right.user.function} begins here"),
        )
    users = _callers(left, right)
    return Difference(
        kind="order" if _lines(users[0]) == _lines(users[1]) else "branch",
        left=Side(user=users[0], text=f"compiled {left.user.function}"),
        right=Side(user=users[1], text=f"compiled {right.user.function}"),
    )


def _lines(user: Line) -> tuple[int, str]:
    return (user.line, user.function)


def _callers(left: Step, right: Step) -> tuple[Line, Line]:
    """The outermost lines at which their stacks differ; the functions where they do not."""
    for ours, theirs in zip(left.called_from, right.called_from, strict=False):
        if _lines(ours) != _lines(theirs):
            return ours, theirs
    ends = [step.called_from[-1] if step.called_from else step.user for step in (left, right)]
    return ends[0], ends[1]
