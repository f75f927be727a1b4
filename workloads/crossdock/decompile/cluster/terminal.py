"""Divergences in the terminal, the lines of both sides beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossdock.decompile.cluster import sources
from crossdock.decompile.cluster.differences import Difference, Side
from crossdock.decompile.cluster.histories import Divergence
from crossdock.decompile.cluster.wording import at, listed
from crossdock.decompile.dynamo.index import Line

CONTEXT_LINES = 2
"""Of the source, before and after the line."""
FIRST_MAX, FURTHER_MAX = 8, 3
"""Differences shown of the first divergence, and of each other."""
MEANINGS = {
    "flag": "a value that the compiled code is bound to",
    "shape": "sizes of tensors",
    "dtype": "types of elements",
    "tensor": "properties of a tensor",
    "type": "types of objects",
    "state": "global settings of torch",
    "guard": "conditions under which the code is used again",
    "branch": "other lines ran",
    "graph": "other operations",
    "break": "graph breaks",
    "recompile": "compiled again",
    "outcome": "how the compilation ended",
    "order": "the same functions in another order",
    "missing": "compiled on some ranks only",
    "source": "the ranks have different files",
}


def show(console: Console, divergences: list[Divergence], folders: Mapping[int, Path]) -> None:
    """Print all of them, the first with more words.

    Args:
        console: to print on.
        divergences: in their order.
        folders: of the dumps, by rank, in which sources may lie.
    """
    for number, divergence in enumerate(divergences):
        title = "first divergence" if number == 0 else f"divergence {number + 1}"
        again = f", compilation {divergence.turn + 1}" if divergence.turn else ""
        line(
            console,
            f"{title}: {divergence.function.function}, {at(divergence.function)}{again}",
            style="bold",
        )
        shown = FIRST_MAX if number == 0 else FURTHER_MAX
        for difference in divergence.differences[:shown]:
            console.print(_table(divergence, difference, folders))
        left = len(divergence.differences) - shown
        if left > 0:
            line(console, f"and {left} more differences of it, which --json gives", "dim")
        console.print()


def _table(divergence: Divergence, difference: Difference, folders: Mapping[int, Path]) -> Table:
    meaning = MEANINGS[difference.kind]
    table = Table(
        title=f"{difference.kind}: {meaning}", title_justify="left", expand=True, box=None
    )
    sides = (
        (divergence.left_ranks, difference.left),
        (divergence.right_ranks, difference.right),
    )
    for ranks, side in sides:
        where = f"\n{at(side.user)}" if side is not None and side.user is not None else ""
        table.add_column(Text(f"{listed(ranks)}{where}"), ratio=1, overflow="fold")
    table.add_row(*(_cell(ranks, side, folders) for ranks, side in sides))
    return table


def _cell(ranks: list[int], side: Side | None, folders: Mapping[int, Path]) -> Text:
    if side is None:
        return Text("nothing of the kind", style="dim")
    cell = Text(side.text + "\n")
    folder = next((folders[rank] for rank in ranks if rank in folders), None)
    if side.user is not None and folder is not None:
        cell.append_text(excerpt(folder, side.user))
    return cell


def line(console: Console, text: str, style: str = "") -> None:
    """Print a line as it is, however long."""
    console.print(Text(text, style=style), soft_wrap=True)


def excerpt(folder: Path, user: Line, context: int = CONTEXT_LINES) -> Text:
    """The user's source around a line, which is marked; empty where it is not at hand."""
    rows = sources.lines(folder, user.file)
    text = Text()
    for number in range(max(1, user.line - context), min(len(rows), user.line + context) + 1):
        mark, style = (">", "bold") if number == user.line else (" ", "dim")
        text.append(f"{mark} {number:4} {rows[number - 1]}\n", style=style)
    return text
