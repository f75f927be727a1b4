"""`crossdock decompile diff DIR`: where ranks compiled different things."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro
from rich.console import Console

from crossdock.decompile.cluster import dumps, terminal
from crossdock.decompile.cluster.errors import RankMissing
from crossdock.decompile.cluster.histories import Divergence, divergences
from crossdock.decompile.cluster.wording import listed
from crossdock.deploy.decompile.job import say
from crossdock.proxy.errors import CrossdockError

ALL = "all"
FORMAT = 1
"""Of the JSON; raised when a reader of older output would misread newer."""
EXIT_SAME, EXIT_DIFFERENT, EXIT_TROUBLE = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show where the dumps of ranks part: the first place, then the others. Exit status: 0 they are
    the same, 1 they differ, 2 they cannot be compared."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Of a run, with rank_0, rank_1, ..."""
    ranks: tuple[str, ...] = (ALL,)
    """Those to compare, or all."""
    json: bool = False
    """Print JSON instead of text."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    format: int = FORMAT
    ranks: list[int]
    divergences: list[Divergence]


def main(options: Options) -> int:
    """Compare, print, return the exit status."""
    try:
        read = dumps.read(options.folder, _ranks(options.ranks))
    except CrossdockError as error:
        say(f"{type(error).__name__}: {error}")
        return EXIT_TROUBLE
    found = divergences({rank: dump.steps for rank, dump in read.items()})
    if options.json:
        report = Report(ranks=list(read), divergences=found)
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n")
    else:
        _print(read, found)
    return EXIT_DIFFERENT if found else EXIT_SAME


def _ranks(words: tuple[str, ...]) -> list[int] | None:
    """The numbers; None for all."""
    if words == (ALL,):
        return None
    if not all(word.isdecimal() for word in words) or len(set(words)) < 2:
        raise RankMissing(f"--ranks {' '.join(words)} names no two ranks; give numbers, or all")
    return [int(word) for word in words]


def _print(read: dict[int, dumps.Dump], found: list[Divergence]) -> None:
    console = Console()
    if found:
        terminal.show(console, found, {rank: dump.folder for rank, dump in read.items()})
    else:
        compiled = max(len(dump.steps) for dump in read.values())
        console.print(
            f"{listed(list(read))}: the same {compiled} compilations",
            highlight=False,
            markup=False,
        )
