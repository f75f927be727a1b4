"""Which dumps are on, and which thread's compilations go into which."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Protocol

from crossdock.decompile.dynamo import index
from crossdock.decompile.dynamo.errors import DumpUnreadable


class Dump(Protocol):
    """A dump that can be switched on and off."""

    folder: Path
    pid: int

    def start(self) -> None: ...

    def stop(self, *, clean: bool) -> None: ...


_lock = threading.RLock()
_dumps: dict[Path, Dump] = {}
_entered: list[tuple[Dump, int]] = []


def enter(asked: Path, make: type[Dump]) -> tuple[Dump, int]:
    """Switch the dump into ``asked`` on for this thread; what it gives is for ``leave``.

    Entered again in the same process, a folder's dump goes on.
    """
    with _lock:
        token = threading.get_ident()
        dump = _dumps.get(asked)
        if dump is None or dump.pid != os.getpid() or not (dump.folder / index.FILE).exists():
            dump = _dumps[asked] = make(place(asked))  # type: ignore[call-arg]
        if not is_on(dump):
            dump.start()
        _entered.append((dump, token))
        return dump, token


def leave(entry: tuple[Dump, int], *, clean: bool) -> None:
    """Undo one ``enter``; with the last one the dump is written out."""
    with _lock:
        _entered.remove(entry)
        if not is_on(entry[0]):
            entry[0].stop(clean=clean)


def is_on(dump: Dump) -> bool:
    """Whether somebody has entered the dump and not left it."""
    return any(one is dump for one, _ in list(_entered))


def concerns(dump: Dump) -> bool:
    """Whether this thread's compilations go into the dump.

    A thread that has entered dumps itself writes into these only; any other, such as those of
    autograd, writes into all.
    """
    here = threading.get_ident()
    own = [one for one, thread in list(_entered) if thread == here]
    return any(one is dump for one in own) if own else is_on(dump)


def any_on() -> bool:
    """Whether any dump is on in this process."""
    return any(dump.pid == os.getpid() for dump, _ in list(_entered))


def latest() -> Path | None:
    """The folder that this process has dumped into last."""
    with _lock:
        folders = [dump.folder for dump in _dumps.values() if dump.pid == os.getpid()]
    return folders[-1] if folders else None


def place(asked: Path) -> Path:
    """The folder for this process: one of its own for each rank, and beside a living other one."""
    if int(os.environ.get("WORLD_SIZE") or 1) > 1 and os.environ.get("RANK"):
        asked = asked / f"rank_{os.environ['RANK']}"
    try:
        other = index.load(asked).process
    except DumpUnreadable:
        return asked
    own = index.Process()
    if other.pid == own.pid and other.host == own.host:
        return asked
    if other.host == own.host and not _is_alive(other.pid):
        return asked
    return asked / f"process_{own.host}_{own.pid}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
