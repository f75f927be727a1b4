"""Texts in pickles, read without unpickling: they may come from anywhere, and pickles run code."""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterator

DEPTH_MAX = 8
"""Pickles within pickles that are looked into."""
LENGTH_MIN = 40
"""Characters below which no text is a graph or a program."""

_START = re.compile(rb"\x80(?:[\x04\x05]\x95|[\x02\x03][(\]})c])")
"""The version, and what a pickle of that version begins with."""
_READ_ERRORS = (ValueError, EOFError, IndexError, OverflowError, MemoryError, UnicodeError)


def texts(data: bytes, depth: int = DEPTH_MAX) -> Iterator[str]:
    """The longer texts of all pickles that ``data`` holds, anywhere in it, in their order.

    Linear in the length of ``data``, whatever is in it: of one level, no byte is read twice.
    """
    position = 0
    while (found := _START.search(data, position)) is not None:
        stream = io.BytesIO(data)
        stream.seek(found.start())
        position = found.end()
        try:
            for _, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str) and len(argument) >= LENGTH_MIN:
                    yield argument
                elif isinstance(argument, bytes | bytearray) and depth:
                    yield from texts(bytes(argument), depth - 1)
        except _READ_ERRORS:
            pass
        position = max(position, stream.tell())
