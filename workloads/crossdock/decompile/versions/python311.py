"""The bytecode of Python 3.11."""

from __future__ import annotations

import opcode

from crossdock.decompile.versions import opcodes
from crossdock.decompile.versions.table import Table

_TESTS = ("TRUE", "FALSE", "NONE", "NOT_NONE")


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
    binary=opcodes.operators(),
    compare=opcode.cmp_op,
    caches=opcodes.caches(),
    adaptive_caches=opcodes.adaptive_caches(),
    names=opcodes.names(),
    jumps=opcodes.jumps(),
)
