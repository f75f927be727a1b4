"""The dump of a rank as bytes, on its way to another machine."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from crossdock.decompile.cluster.errors import RankMissing

UNPACKED_BYTES_MAX = 4 << 30
"""Of one rank's dump."""


def pack(folder: Path) -> bytes:
    """All files of a folder; an empty archive where it is not there."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Write what ``pack`` gave; nothing outside of the folder, whatever the names say.

    Raises:
        RankMissing: it is damaged, or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > UNPACKED_BYTES_MAX:
                raise RankMissing(
                    f"the dump for {folder} has {size} bytes; {UNPACKED_BYTES_MAX} are the limit"
                )
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise RankMissing(f"the dump for {folder} did not arrive whole: {error}") from error
