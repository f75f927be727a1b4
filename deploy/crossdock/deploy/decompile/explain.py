"""`crossdock decompile explain DIR`: graph breaks, recompilations and times of one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from crossdock.decompile.cluster import dumps, explanation
from crossdock.decompile.dynamo import index
from crossdock.deploy.decompile.job import say
from crossdock.proxy.errors import CrossdockError

EXIT_TROUBLE = 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Explain the dump of one process, or of one rank of a run: what was compiled and for how long,
    why graphs broke, which guard failed. Exit status: 0, or 2 if there is no such dump or line."""

    folder: Annotated[Path, tyro.conf.Positional]
    """With index.json, or with rank_0, rank_1, ..."""
    rank: int | None = None
    """Of a run; the lowest, if not given."""
    line: str | None = None
    """FILE:LINE of a decompiled file: show which of the user's lines it comes from instead."""


def main(options: Options) -> int:
    """Read, print, return the exit status."""
    try:
        folder = _dump(options)
        found = index.load(folder)
        if options.line is None:
            explanation.show(Console(), found, folder)
        else:
            explanation.show_line(Console(), found, folder, options.line)
    except CrossdockError as error:
        say(f"{type(error).__name__}: {error}")
        return EXIT_TROUBLE
    return 0


def _dump(options: Options) -> Path:
    """The folder that has the index."""
    if options.rank is None and (options.folder / index.FILE).exists():
        return options.folder
    rank = dumps.found(options.folder)[0] if options.rank is None else options.rank
    return dumps.one(options.folder, rank).folder
