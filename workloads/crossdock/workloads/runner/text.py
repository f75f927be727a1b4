"""Cells of tables as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_DIGITS = 4
_WIDTH_OF_A_FILE = 160


def cell(value: Any) -> str:
    """One cell: numbers with four significant digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table for the terminal; columns of numbers stand to the right."""
    shown = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        numbers = any(isinstance(row[i], int | float) for row in rows)
        shown.add_column(column, justify="right" if numbers else "left", no_wrap=numbers)
    for row in rows:
        shown.add_row(*map(cell, row))
    return shown


def show(shown: Table) -> None:
    """Print a table; a file or a pipe has no width that would cut its numbers."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_OF_A_FILE)
    console.print(shown)
