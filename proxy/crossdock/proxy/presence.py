"""Ranks of this host that answer a signal with a dump, as other processes can find them.

A rank keeps a nameless file open whose label says what it is. It vanishes with the process, so what
is found is alive: nothing stale is left behind, and no process that would die of the signal is
taken for a rank.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

LABEL = "crossdock-rank"
_LINK = f"/memfd:{LABEL}"
_STATES = {
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "dead",
    "X": "dead",
    "D": "in the kernel",
}


class Presence(msgspec.Struct, frozen=True):
    """What a rank says of itself."""

    pid: int
    """As the rank sees it: a forked child has the file, too, but is not the rank."""
    job: str
    rank: int
    size: int
    signal: int
    """0: no signal brings a dump."""
    directory: str


class Found(msgspec.Struct, frozen=True):
    """A rank of this host and the process that it lives in."""

    pid: int
    state: str
    """running, stopped, ..."""
    answers: bool
    """Whether the process has a handler for the signal."""
    presence: Presence


def announce(presence: Presence) -> int:
    """Opens the file; the rank can be found until it is closed."""
    descriptor = os.memfd_create(LABEL)
    os.pwrite(descriptor, msgspec.json.encode(presence), 0)
    return descriptor


def ranks(pids: set[int] | None = None, proc: Path = Path("/proc")) -> list[Found]:
    """The ranks of this host that this user may see, of ``pids`` or of all processes."""
    names = (path.name for path in proc.iterdir() if path.name.isdigit())
    chosen = sorted(int(name) for name in names)
    return [
        found
        for pid in chosen
        if pids is None or pid in pids
        for found in _ranks_of(proc / str(pid), pid)
    ]


def _ranks_of(process: Path, pid: int) -> Iterator[Found]:
    with contextlib.suppress(OSError):
        status = _status(process)
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                if not str(link.readlink()).startswith(_LINK):
                    continue
                presence = msgspec.json.decode(link.read_bytes(), type=Presence)
                if str(presence.pid) not in status.get("NSpid", str(pid)).split():
                    continue
                caught = int(status.get("SigCgt", "0"), 16)
                answers = presence.signal > 0 and bool(caught >> (presence.signal - 1) & 1)
                state = _STATES.get(status.get("State", "?")[:1], "running")
                yield Found(pid, state, answers, presence)


def _status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
