"""What options are read with: lists with commas, limits; and the drawing of progress."""

from __future__ import annotations

import contextlib
import math
import typing
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crossdock.bench.ranks import Tell
from crossdock.proxy.errors import ArgumentError


def numbers(name: str, text: str, least: int, most: float = math.inf) -> tuple[int, ...]:
    """`2,4` as numbers; ArgumentError for anything else."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(f"{name} is {text!r}; write numbers with commas, as 2,4") from None
    for value in values:
        if value < least:
            raise ArgumentError(f"{name} has {value}, but {least} is the least")
        if value > most:
            raise ArgumentError(f"{name} has {value}, but {most} is the most")
    return values


def choices(name: str, text: str, kind: Any) -> tuple[Any, ...]:
    """`shm,tcp` as words of a Literal; ArgumentError for any other."""
    allowed = typing.get_args(kind)
    words = tuple(word.replace("-", "_") for word in text.split(","))
    for word in words:
        if word not in allowed:
            raise ArgumentError(f"{name} has {word!r}; choose from {', '.join(allowed)}")
    return words


def at_least(name: str, value: float, least: float) -> None:
    """ArgumentError for less."""
    if value < least:
        raise ArgumentError(f"{name} is {value}, but {least} is the least")


def between(name: str, value: float, least: float, most: float) -> None:
    """ArgumentError for less and for more, and for what is no number."""
    if not least <= value <= most:
        raise ArgumentError(f"{name} is {value}, but must be between {least} and {most}")


@contextlib.contextmanager
def progress_on(console: Console) -> Iterator[Tell]:
    """A bar that is drawn when it is told something, and at no other time: ranks need the cores."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)
            bar.refresh()

        yield tell
