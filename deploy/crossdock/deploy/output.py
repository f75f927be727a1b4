"""Standard output that says when it could not be written, in a way that cannot be mistaken.

An OSError may come from anywhere in a command; one of its output is the user's to mend, and where a
reader has left, as `head` does, nobody's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from crossdock.proxy.errors import CrossdockError


class OutputFailed(CrossdockError):
    """Standard output could not be written; the message says why."""


class ReaderLeft(OutputFailed):
    """Standard output is a pipe that nobody reads any more."""


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Everything printed in the block has been written when it ends.

    Raises:
        OutputFailed: it could not be. What is printed afterwards is lost.
        ReaderLeft: nobody wants it.
    """
    stream: TextIO | None = sys.stdout
    if stream is None:
        raise OutputFailed("standard output is closed; send it to /dev/null instead")
    guarded = cast(TextIO, _Checked(stream))
    try:
        with contextlib.redirect_stdout(guarded):
            try:
                yield
            finally:
                guarded.flush()
    except OutputFailed:
        _discard_rest(stream)
        raise


class _Checked:
    """A text stream whose errors are OutputFailed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _told_apart():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told_apart():
            self._stream.flush()


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderLeft("nobody reads standard output any more") from error
    except OSError as error:
        raise OutputFailed(f"standard output could not be written: {error.strerror}") from error


def _discard_rest(stream: TextIO) -> None:
    """What is left in its buffers would fail again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
