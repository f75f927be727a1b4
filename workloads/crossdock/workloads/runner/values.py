"""Values that a run keeps: a dictionary of arrays and of what JSON can say, as one .npz file."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner.errors import KeptUnreadable

Value = dict[str, Any]
"""Names to arrays, numbers, strings, booleans, None, and lists and dictionaries of these."""

_REST = "__json__"
_READABLE = 40
_DIGEST = 16


def version_of(*parts: Path | NDArray[Any]) -> str:
    """What changes where a file or an array does.

    Of a file its size and the time of its last change stand for what it holds, which may be large.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            seen = part.stat()
            digest.update(f"{seen.st_size} {seen.st_mtime_ns}".encode())
        else:
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:_DIGEST]


class Store:
    """Values by key in a folder. What is there is whole: a value appears at once or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, value: Value) -> None:
        """Keep `value`, in the place of any other of that key.

        Raises:
            ArgumentError: it holds what neither an array nor JSON can say.
        """
        path = self._path(key)
        arrays = {name: one for name, one in value.items() if isinstance(one, np.ndarray)}
        rest = {name: one for name, one in value.items() if name not in arrays}
        odd = [name for name, one in arrays.items() if one.dtype.hasobject]
        if odd or _REST in value:
            raise ArgumentError(f"{key!r} cannot be kept: {odd or _REST} is no array of numbers")
        try:
            text = json.dumps(rest)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{key!r} cannot be kept: {error}") from error
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_REST: np.array(text), **arrays})
        fresh.replace(path)

    def get(self, key: str) -> Value | None:
        """The value of `key`; None if there is none.

        Raises:
            KeptUnreadable: its file is damaged.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files if name != _REST}
                rest: Value = json.loads(str(file[_REST]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise KeptUnreadable(f"{path} is damaged ({error}); delete it and resume") from error
        return {**rest, **arrays}

    def _path(self, key: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", key)[:_READABLE]
        digest = hashlib.sha256(key.encode()).hexdigest()[:_DIGEST]
        return self._folder / f"{readable}-{digest}.npz"
