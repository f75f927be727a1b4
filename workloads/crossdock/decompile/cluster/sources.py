"""Copies of the user's source in a rank's dump, so that it can be shown where it does not lie."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

FOLDER = "sources"
BYTES_MAX = 1 << 20
"""Of one file that is copied."""


def keep(folder: Path, file: str) -> None:
    """Copy a source file into the dump, once; one that is not there, or is no file, is left out.

    Args:
        folder: of the rank's dump.
        file: path of the source.
    """
    target = folder / FOLDER / _name(file)
    try:
        source = Path(file)
        if target.exists() or not source.is_file() or source.stat().st_size > BYTES_MAX:
            return
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    except (OSError, ValueError):
        return


def lines(folder: Path, file: str) -> list[str]:
    """The lines of a source file as the rank had it; none where it is not at hand."""
    for path in (folder / FOLDER / _name(file), Path(file)):
        try:
            return path.read_text(encoding="utf-8", errors="replace").splitlines()
        except (OSError, ValueError):
            continue
    return []


def _name(file: str) -> str:
    mark = hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{mark}_{PurePath(file).name}"
