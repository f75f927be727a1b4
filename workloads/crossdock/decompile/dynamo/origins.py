"""The lines of a decompiled file beside the user's lines that they come from."""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from crossdock.decompile.dynamo.errors import LineUnknown
from crossdock.decompile.dynamo.index import Artifact, Index, Mapped

Read = Callable[[str], Sequence[str]]
"""Gives the lines of a user's file; none where it is not at hand."""


class Row(NamedTuple):
    """A line of each."""

    mapped: Mapped
    text: str
    source: str
    """Empty where the user's file is not at hand."""


def rows(artifact: Artifact, folder: Path, read: Read = linecache.getlines) -> Iterator[Row]:
    """The lines of a file that begin what comes from another user's line than the lines before.

    Args:
        artifact: of an index.
        folder: with the index.
        read: for the user's file.
    """
    if not artifact.lines or artifact.user is None:
        return
    written, source = _written(folder / artifact.file), read(artifact.user.file)
    for _, run in itertools.groupby(artifact.lines, lambda one: (one.function, one.original)):
        one = next(run)
        yield Row(one, _at(written, one.line), _at(source, one.original))


def origins(index: Index, place: str) -> tuple[Artifact, list[Mapped]]:
    """What a line of a dumped file comes from; a statement of several lines is its first line.

    Args:
        index: of the dump.
        place: the line as ``FILE:LINE``, with or without folders before the file.

    Raises:
        LineUnknown: no such file was decompiled and proved, or the line is none of its statements.
    """
    name, _, number = place.rpartition(":")
    if not number.isdecimal():
        raise LineUnknown(f"{place!r} is no line of a file; write FILE:LINE")
    artifact = next((a for a in index.artifacts if a.file == Path(name).name and a.lines), None)
    if artifact is None:
        raise LineUnknown(f"{name!r} is no file of the dump that was decompiled and proved")
    found = [one for one in artifact.lines if one.line == int(number)]
    if not found:
        known = ", ".join(map(str, dict.fromkeys(one.line for one in artifact.lines)))
        raise LineUnknown(f"line {number} of {artifact.file} has no code; lines with code: {known}")
    return artifact, found


def _written(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _at(lines: Sequence[str], number: int) -> str:
    return lines[number - 1].rstrip("\n") if 0 < number <= len(lines) else ""
