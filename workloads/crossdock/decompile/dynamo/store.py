"""The folder of a dump: files named by what they hold."""

from __future__ import annotations

import ast
import os
import re
import threading
from pathlib import Path

from crossdock.decompile.dynamo import index
from crossdock.decompile.dynamo.errors import DumpRefused, DumpUnreadable
from crossdock.decompile.dynamo.fingerprint import digest

STEM_LENGTH_MAX = 80
"""Of the name of a function in the name of a file; file systems end at 255 bytes."""
SAME_DIGEST_MAX = 10_000
"""Texts that differ only by addresses, in one folder: far above any recompile limit."""


class Store:
    """Writes texts into a folder. Safe in threads.

    A folder belongs to one process at a time. What an earlier one has left there is removed, as far
    as its index names it; nothing else is touched.

    Raises:
        DumpRefused: ``folder`` is a file, or holds an ``index.json`` that is not of a dump.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._lock = threading.Lock()
        self._written: dict[str, str] = {}
        if self.folder.exists() and not self.folder.is_dir():
            raise DumpRefused(f"{self.folder} is a file; give a folder to dump into")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_earlier()

    def write(self, stem: str, text: str, digest_of: str | None = None) -> tuple[Path, str]:
        """Write a Python file, once; gives its path and digest.

        Args:
            stem: begins the name.
            text: the whole file, which parses as Python.
            digest_of: what the digest is taken of, where that is not the whole text.
        """
        mark = digest(text if digest_of is None else digest_of)
        base = f"{_safe(stem)}_{mark}"
        with self._lock:
            for turn in range(1, SAME_DIGEST_MAX):
                name = f"{base}.py" if turn == 1 else f"{base}_{turn}.py"
                path = self.folder / name
                kept = self._written.get(name)
                if kept is None:
                    self._written[name] = text
                    _replace(path, text)
                    return path, mark
                if kept == text:
                    return path, mark
        raise DumpRefused(f"{self.folder} holds {SAME_DIGEST_MAX} files {base}_*.py")

    def page(self, name: str, text: str) -> Path:
        """Write a file under a fixed name, over an older one."""
        path = self.folder / name
        with self._lock:
            _replace(path, text)
        return path

    def remove(self, path: Path) -> None:
        """Take a file that ``write`` has written back."""
        with self._lock:
            self._written.pop(path.name, None)
            path.unlink(missing_ok=True)

    def _remove_earlier(self) -> None:
        if not (self.folder / index.FILE).exists():
            return
        try:
            earlier = index.load(self.folder)
        except DumpUnreadable as error:
            raise DumpRefused(
                f"{self.folder} holds an index.json that no dump has left here ({error}); "
                "give another folder, or remove that file"
            ) from error
        for artifact in earlier.artifacts:
            path = self.folder / artifact.file
            if path.parent == self.folder and path.suffix == ".py":
                path.unlink(missing_ok=True)
        (self.folder / index.FILE).unlink(missing_ok=True)


def as_python(text: str) -> str:
    """The text if it parses as Python, else the text as comments."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return (
            f"# As comments, because Python does not parse it: {_first_line(error)}\n"
            + commented(text)
        )
    return text if text.endswith("\n") else text + "\n"


def commented(text: str) -> str:
    """Every line of the text behind a ``#``."""
    clean = text.replace("\0", "\\0")
    return "".join(f"# {line}".rstrip() + "\n" for line in clean.splitlines())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _safe(stem: str) -> str:
    return re.sub(r"\W+", "_", stem, flags=re.ASCII)[:STEM_LENGTH_MAX].strip("_") or "code"


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8", errors="surrogatepass")
    partial.replace(path)
