"""Where the dumps of this process go: whole files, few of them, under names that tell ranks."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import socket
import tempfile
import threading
from pathlib import Path

from crossdock.proxy.dump import SUFFIX, Dump, DumpError, Facts, encode

MAX_FILES = 16
"""Of one process; the oldest goes when there are more."""

_lock = threading.Lock()
_numbers = itertools.count()
_written: collections.deque[Path] = collections.deque()


def stem(facts: Facts) -> str:
    """What the names of a rank's files begin with."""
    return f"{facts.job}-rank{facts.rank:04d}-{facts.host}-{facts.pid}"


def host_name() -> str:
    """The name of this host as a part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in socket.gethostname()) or "host"


def save(dump: Dump, directory: Path) -> Path:
    """Writes a dump into the directory and returns its path.

    Raises:
        DumpError: it cannot be written, with the path and the reason.
    """
    path = directory / f"{stem(dump.facts)}-{next(_numbers)}{SUFFIX}"
    save_as(dump, path)
    with _lock:
        _written.append(path)
        surplus = [_written.popleft() for _ in range(len(_written) - MAX_FILES)]
    for old in surplus:
        with contextlib.suppress(OSError):
            old.unlink(missing_ok=True)
    return path


def save_as(dump: Dump, path: Path) -> None:
    """Writes a dump to a path; whoever reads it sees all of it or nothing."""
    draft = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
        draft = Path(name)
        with os.fdopen(file, "wb") as stream:
            stream.write(encode(dump))
        draft.rename(path)
    except OSError as error:
        if draft is not None:
            draft.unlink(missing_ok=True)
        raise DumpError(f"{path}: the dump cannot be written: {error.strerror}") from error
