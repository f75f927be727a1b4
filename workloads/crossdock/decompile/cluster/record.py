"""run.json: what the run of several ranks was, how each ended, and where they parted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from crossdock.decompile.cluster.errors import NoDumps
from crossdock.decompile.cluster.histories import Divergence
from crossdock.decompile.dynamo.index import Line

FILE = "run.json"
FORMAT = 1

State = Literal["ended", "failed", "killed", "hung", "stopped", "lost"]
"""``failed``: its script raised, or gave a status. ``killed``: by a signal. ``hung``: it was ended
at a deadline. ``stopped``: it was ended because another had failed. ``lost``: nothing is known."""


class RankEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How one rank ended."""

    rank: int
    host: str
    pid: int | None
    state: State
    status: int | None
    """Exit status of the process; negative for a signal."""
    why: str
    """In words."""
    doing: Line | None
    """The user's line that its main thread was in when it was last heard of."""
    last: Line | None
    """The function that it compiled last."""
    last_id: str = ""
    last_file: str = ""
    """In its folder, what that was compiled to."""
    gathered: bool = True
    """Whether its dump is in the folder of the run."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run."""

    format: int = FORMAT
    launcher: Literal["torchrun", "ray"]
    argv: list[str]
    started: str
    seconds: float
    ranks: list[RankEnd]
    warned: list[Divergence]
    """While it ran."""
    divergences: list[Divergence]
    """Of the dumps, at the end."""
    notes: list[str]

    def save(self, folder: Path) -> None:
        """Write the file."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"
        (folder / FILE).write_bytes(text)


def load(folder: Path) -> Record | None:
    """What ``save`` wrote; None where there is none.

    Raises:
        NoDumps: it is truncated, or of another format.
    """
    path = folder / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoDumps(f"{path} cannot be read: {error.strerror}") from error
    try:
        version = msgspec.json.decode(text, type=_Format).format
        if version != FORMAT:
            raise NoDumps(f"{path} has format {version}, but this reads {FORMAT}")
        return msgspec.json.decode(text, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoDumps(f"{path} is no record of a run: {error}") from error


class _Format(msgspec.Struct):
    format: int
