"""How ranks, lines and divergences are named in messages."""

from __future__ import annotations

from crossdock.decompile.cluster.histories import Divergence
from crossdock.decompile.dynamo.index import Line


def at(user: Line | None) -> str:
    """A line as editors open it."""
    return "at a place unknown" if user is None else f"{user.file}:{user.line}"


def listed(ranks: list[int]) -> str:
    """``rank 1``, ``ranks 0, 2-5``."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    told = [f"{a}" if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in runs]
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(told)}"


def described(divergence: Divergence) -> str:
    """A divergence in one line."""
    first = divergence.first
    again = f", compilation {divergence.turn + 1}" if divergence.turn else ""
    function = divergence.function
    lines = [at(side.user or function) if side else "nothing" for side in (first.left, first.right)]
    where = lines[0] if lines[0] == lines[1] else " | ".join(lines)
    left, right = divergence.left_ranks, divergence.right_ranks
    who = f"{listed(left)} and {listed(right)} part"
    if len(left) > len(right):
        who = f"{listed(right)} diverge{'s' if len(right) == 1 else ''} from {listed(left)}"
    return (
        f"{who}: {first.kind} at {where}: {first.text()}"
        f" (in {function.function}, {at(function)}{again})"
    )
