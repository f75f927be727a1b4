"""The exception table of a code object: which instructions have which handler.

Format: ``Objects/exception_handling_notes.txt`` of CPython. An entry is four numbers in base 64,
six bits a byte, the most significant first: start, length and target in units of two bytes, then
depth and lasti in one number. Bit 6 says that the number goes on, bit 7 that an entry begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossdock.decompile.errors import CorruptCode

_MORE, _VALUE = 64, 63
_NUMBER_BYTES_MAX = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """Byte offsets of the protected range and of its handler; the stack that the handler keeps."""

    start: int
    end: int
    target: int
    depth: int
    lasti: bool


def entries(table: bytes) -> list[Entry]:
    """The entries in their order; CorruptCode for a table that breaks off."""
    found = []
    position = 0
    while position < len(table):
        start, position = _number(table, position)
        length, position = _number(table, position)
        target, position = _number(table, position)
        depth, position = _number(table, position)
        entry = Entry(start * 2, (start + length) * 2, target * 2, depth >> 1, bool(depth & 1))
        found.append(entry)
    return found


def _number(table: bytes, position: int) -> tuple[int, int]:
    value = 0
    for at in range(position, min(position + _NUMBER_BYTES_MAX, len(table))):
        value = value << 6 | table[at] & _VALUE
        if not table[at] & _MORE:
            return value, at + 1
    raise CorruptCode(f"the exception table of {len(table)} bytes breaks off in a number")
