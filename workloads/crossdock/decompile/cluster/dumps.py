"""The dumps of several ranks, read from the folder of a run."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from crossdock.decompile.cluster import record
from crossdock.decompile.cluster.errors import NoDumps, RankMissing
from crossdock.decompile.cluster.steps import Step, steps
from crossdock.decompile.dynamo import index
from crossdock.decompile.dynamo.errors import DumpUnreadable

_FOLDER = re.compile(r"rank_(\d+)")


@dataclass(frozen=True, kw_only=True)
class Dump:
    """Of one rank."""

    rank: int
    folder: Path
    index: index.Index
    steps: list[Step]


def read(folder: Path, ranks: Collection[int] | None = None) -> dict[int, Dump]:
    """The dumps of all ranks, or of some, by rank.

    Raises:
        NoDumps: there are none of ranks in this folder.
        RankMissing: that of a rank is not there, or cannot be read.
    """
    there = found(folder)
    wanted = set(there) if ranks is None else set(ranks)
    dumps = {rank: one(folder, rank) for rank in sorted(wanted)}
    if ranks is None:
        expected = _expected(folder, dumps)
        absent = sorted(expected - dumps.keys())
        if absent:
            raise RankMissing(
                f"{folder} holds the dumps of {len(dumps)} of {len(expected)} ranks, but not"
                f" rank_{absent[0]}; copy it there, or name the ranks to compare with --ranks"
            )
    return dumps


def found(folder: Path) -> list[int]:
    """The ranks that have a folder in this one.

    Raises:
        NoDumps: none has.
    """
    if not folder.is_dir():
        raise NoDumps(f"{folder} is no folder; give the one that the ranks dumped into")
    matched = (_FOLDER.fullmatch(path.name) for path in folder.iterdir() if path.is_dir())
    ranks = sorted(int(one[1]) for one in matched if one is not None)
    if not ranks:
        hint = (
            "it is the dump of one process, to which `crossdock decompile explain` is the command"
            if (folder / index.FILE).exists()
            else "`crossdock decompile run --dir DIR` makes them"
        )
        raise NoDumps(f"{folder} holds no dumps of ranks (rank_0, ...); {hint}")
    return ranks


def one(folder: Path, rank: int) -> Dump:
    """The dump of a rank.

    Raises:
        RankMissing: it is not there, truncated, or of another format.
    """
    own = folder / f"rank_{rank}"
    if not own.is_dir():
        there = ", ".join(map(str, found(folder)))
        raise RankMissing(f"rank {rank} has no folder {own}; those of ranks {there} are there")
    try:
        read_index = index.load(own)
    except DumpUnreadable as error:
        raise RankMissing(f"the dump of rank {rank} cannot be used: {error}") from error
    return Dump(rank=rank, folder=own, index=read_index, steps=list(steps(read_index, own)))


def _expected(folder: Path, dumps: dict[int, Dump]) -> set[int]:
    run = record.load(folder)
    if run is not None:
        return {end.rank for end in run.ranks}
    sizes = [dump.index.process.world_size for dump in dumps.values()]
    return set(range(max((size for size in sizes if size is not None), default=len(dumps))))
