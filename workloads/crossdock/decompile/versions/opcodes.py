"""What the module ``opcode`` of the running Python says, in one form for all versions."""

from __future__ import annotations

import opcode
from typing import Any, cast

_NUMBERS = 256

_ENTRIES: Any = getattr(opcode, "_inline_cache_entries", {})
_FAMILIES: Any = getattr(opcode, "_specializations", {})
_OPERATORS: Any = getattr(opcode, "_nb_ops", ())


def names() -> tuple[str, ...]:
    """Of all opcodes by their number."""
    return cast("tuple[str, ...]", tuple(opcode.opname[:_NUMBERS]))


def jumps() -> frozenset[str]:
    """The opcodes with a relative target."""
    return frozenset(opcode.opname[number] for number in opcode.hasjrel)


def absolute_jumps() -> frozenset[str]:
    """The opcodes whose target is counted from the start."""
    return frozenset(opcode.opname[number] for number in opcode.hasjabs)


def operators() -> tuple[str, ...]:
    """What ``BINARY_OP`` computes, by its argument."""
    return tuple(symbol for _, symbol in _OPERATORS)


def common() -> tuple[str, ...]:
    """The names of builtins that an instruction loads, whatever they are bound to."""
    return tuple(one.__name__ for one in getattr(opcode, "_common_constants", ()))


def caches() -> tuple[int, ...]:
    """How many cache entries follow each opcode, by its number."""
    if isinstance(_ENTRIES, dict):
        return tuple(_ENTRIES.get(name, 0) for name in names())
    return tuple(_ENTRIES[:_NUMBERS])


def adaptive_caches() -> tuple[int, ...]:
    """The same with the specialised opcodes."""
    found = list(caches())
    bases = {one: base for base, family in _FAMILIES.items() for one in family}
    for name, number in _specialised().items():
        base = bases.get(name, name.partition("__")[0])
        found[number] = found[opcode.opmap[base]] if base in opcode.opmap else 0
    return tuple(found)


def _specialised() -> dict[str, int]:
    """Older versions only list them: their numbers are those that no other has, in that order."""
    known: Any = getattr(opcode, "_specialized_opmap", None)
    if known is not None:
        return dict(known)
    listed: Any = getattr(opcode, "_specialized_instructions", ())
    free = (number for number, name in enumerate(names()) if name.startswith("<"))
    return dict(zip(listed, free, strict=False))
