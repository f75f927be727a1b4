"""One dump in the terminal: times, graph breaks with lines, recompilations with guards."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossdock.decompile.cluster.differences import Difference, compare
from crossdock.decompile.cluster.lines import after_comment
from crossdock.decompile.cluster.steps import Step, steps
from crossdock.decompile.cluster.terminal import excerpt, line
from crossdock.decompile.cluster.wording import at
from crossdock.decompile.dynamo import origins
from crossdock.decompile.dynamo.index import Compile, Index, Line

GUARDS_MAX = 10
"""Of one recompilation that are shown."""


def show(console: Console, index: Index, folder: Path) -> None:
    """Print all of it.

    Args:
        console: to print on.
        index: of the dump.
        folder: where its files lie.
    """
    process = index.process
    rank = "" if process.rank is None else f", rank {process.rank} of {process.world_size}"
    line(console, f"{' '.join(process.argv)} on {process.host}{rank}", style="bold")
    console.print(_compilations(index))
    _breaks(console, index, folder)
    _again(console, list(steps(index, folder)), folder)
    for fault in index.faults:
        line(console, f"the dump misses something: {fault}", style="red")


def show_line(console: Console, index: Index, folder: Path, place: str) -> None:
    """Print which of the user's lines a line of a dumped file comes from.

    Args:
        console: to print on.
        index: of the dump.
        folder: where its files lie.
        place: ``FILE:LINE``.

    Raises:
        LineUnknown: it is none of a decompiled file.
    """
    artifact, found = origins.origins(index, place)
    written = Line(file=str(folder / artifact.file), line=found[0].line)
    line(console, at(written), style="bold")
    console.print(excerpt(folder, written), end="", soft_wrap=True)
    for one in found:
        user = Line(file=artifact.user.file if artifact.user else "", line=one.original)
        line(console, f"comes from {at(user)}: byte {one.offset} of {one.function}")
        console.print(excerpt(folder, user), end="", soft_wrap=True)


def _compilations(index: Index) -> Table:
    names = list(dict.fromkeys(name for one in index.compiles for name in one.seconds))
    table = Table("id", "function", "where", box=None, title="compilations", title_justify="left")
    for name in names:
        table.add_column(f"{name} (s)", justify="right")
    table.add_column("nodes", justify="right")
    table.add_column("end")
    for one in index.compiles:
        table.add_row(
            one.compile_id,
            Text(one.user.function),
            Text(at(one.user), overflow="fold"),
            *(f"{one.seconds[name]:.3f}" if name in one.seconds else "" for name in names),
            "" if one.nodes is None else str(one.nodes),
            Text(_end(one)),
        )
    return table


def _end(one: Compile) -> str:
    if one.failed:
        return "failed: " + one.failed.partition("\n")[0]
    if one.skipped:
        return "given up"
    return f"{one.attempts} attempts" if one.attempts > 1 else ""


def _breaks(console: Console, index: Index, folder: Path) -> None:
    line(console, f"\ngraph breaks: {len(index.breaks)}", style="bold")
    for one in index.breaks:
        where = "" if one.user is None else f"{at(one.user)} in {one.user.function}: "
        line(console, f"{where}{one.reason}")
        if one.user is not None:
            console.print(excerpt(folder, one.user), end="", soft_wrap=True)


def _again(console: Console, all_steps: list[Step], folder: Path) -> None:
    again = [one for one in all_steps if one.because]
    line(console, f"\ncompiled again: {len(again)}", style="bold")
    by_id = {one.compile_id: one for one in all_steps}
    for one in again:
        line(
            console,
            f"{one.user.function}, {at(one.user)}: {one.compile_id}, since the guards of what was"
            " there did not hold",
        )
        for failed in one.because:
            user = after_comment(failed.source, one)
            where = f", from {at(user)}" if user is not None else ""
            line(console, f"  {failed.compile_id}: {failed.guard}{where}")
            if user is not None:
                console.print(excerpt(folder, user, 0), end="", soft_wrap=True)
        earlier = next((by_id[f.compile_id] for f in one.because if f.compile_id in by_id), None)
        if earlier is not None:
            console.print(_entries(earlier, one))


def _entries(earlier: Step, later: Step) -> Table:
    """The guards in which two entries of the cache differ."""
    table = Table(f"  {earlier.compile_id} holds for", f"{later.compile_id} holds for", box=None)
    guards = [one for one in compare(earlier, later) if one.kind not in _NO_GUARDS]
    for one in guards[:GUARDS_MAX]:
        table.add_row(*_cells(one))
    if len(guards) > GUARDS_MAX:
        table.add_row("  ...", f"{len(guards) - GUARDS_MAX} more")
    return table


_NO_GUARDS = frozenset({"recompile", "graph", "branch", "break", "outcome"})


def _cells(one: Difference) -> tuple[Text, Text]:
    left, right = one.left, one.right
    return (
        Text(f"  {left.text if left else 'anything'}", overflow="fold"),
        Text(right.text if right else "anything", overflow="fold"),
    )
