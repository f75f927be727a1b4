"""The bytecode of Python 3.11."""

from __future__ import annotations

import opcode
from typing import Any, cast

from crossdock.decompile.versions.table import Table

_CACHES: Any = opcode._inline_cache_entries  # type: ignore[attr-defined]
_BINARY: Any = opcode._nb_ops  # type: ignore[attr-defined]
_TESTS = ("TRUE", "FALSE", "NONE", "NOT_NONE")


def adaptive_caches() -> tuple[int, ...]:
    """Specialised opcodes have the numbers that no other has, in the order of their list."""
    found = list(_CACHES)
    families: Any = opcode._specializations  # type: ignore[attr-defined]
    bases = {one: base for base, family in families.items() for one in family}
    specialised: Any = opcode._specialized_instructions  # type: ignore[attr-defined]
    free = (number for number, name in enumerate(opcode.opname) if name.startswith("<"))
    for number, name in zip(free, specialised, strict=False):
        base = bases.get(name, name.partition("__")[0])
        found[number] = _CACHES[opcode.opmap[base]] if base in opcode.opmap else 0
    return tuple(found)


TABLE = Table(
    same_as={
        **{
            f"POP_JUMP_{way}_IF_{test}": f"POP_JUMP_IF_{test}"
            for way in ("FORWARD", "BACKWARD")
            for test in _TESTS
        },
        "JUMP_FORWARD": "JUMP",
        "JUMP_BACKWARD": "JUMP",
        "JUMP_BACKWARD_NO_INTERRUPT": "JUMP",
    },
    dropped=frozenset(
        {"NOP", "CACHE", "PRECALL", "RESUME", "MAKE_CELL", "COPY_FREE_VARS", "EXTENDED_ARG"}
    ),
    backward=frozenset(
        {
            *(f"POP_JUMP_BACKWARD_IF_{test}" for test in _TESTS),
            "JUMP_BACKWARD",
            "JUMP_BACKWARD_NO_INTERRUPT",
        }
    ),
    binary=tuple(symbol for _, symbol in _BINARY),
    compare=opcode.cmp_op,
    caches=tuple(_CACHES),
    adaptive_caches=adaptive_caches(),
    names=cast("tuple[str, ...]", tuple(opcode.opname)),
    jumps=frozenset(opcode.opname[number] for number in opcode.hasjrel),
)
