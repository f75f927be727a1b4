"""Numbers of bytes, for people."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30


def size_text(count: int) -> str:
    """Bytes in the largest unit that leaves a readable number."""
    for exponent, unit in enumerate(("B", "KiB", "MiB")):
        if count < 1024 ** (exponent + 1):
            return f"{round(count / 1024**exponent, 1):g} {unit}"
    return f"{round(count / GIB, 1):g} GiB"
