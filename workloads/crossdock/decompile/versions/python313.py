"""The bytecode of Python 3.13: instructions for two variables, calls with names, truth values."""

from __future__ import annotations

import opcode
from collections.abc import Callable, Mapping

from crossdock.decompile.versions import opcodes, python312
from crossdock.decompile.versions.table import Pieces, Table

_ENDS_LOOP = 4
"""Bytes of ``END_FOR`` and ``POP_TOP``."""


def two(first: str, second: str) -> Callable[[int], Pieces]:
    """An instruction on two local variables, that have four bits each."""
    return lambda arg: ((first, arg >> 4), (second, arg & 15))


def compare(arg: int) -> Pieces:
    """Bit 4: the truth value of the result."""
    return ("COMPARE_OP", arg >> 5), *((("TO_BOOL", 0),) if arg & 16 else ())


PIECES: Mapping[str, Callable[[int], Pieces]] = {
    **python312.PIECES,
    "COMPARE_OP": compare,
    "FORMAT_SIMPLE": lambda _: (("FORMAT_VALUE", 0),),
    "FORMAT_WITH_SPEC": lambda _: (("FORMAT_VALUE", 4),),
    "LOAD_FAST_LOAD_FAST": two("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": two("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": two("STORE_FAST", "STORE_FAST"),
    "PUSH_NULL": lambda _: (("PUSH_NULL", 0), ("SWAP", 2)),  # it was put below what is called
}
JOINS = {
    **python312.JOINS,
    "CALL_KW": "keywords",
    **{f"POP_JUMP_IF_{test}": "truth" for test in ("FALSE", "TRUE", "NONE", "NOT_NONE")},
    "RETURN_VALUE": "attributes",
    "SET_FUNCTION_ATTRIBUTE": "function_attribute",
    "STORE_NAME": "class_cells",
    "UNARY_NOT": "truth",
}


TABLE = Table(
    same_as=python312.SAME_AS,
    pieces=PIECES,
    joins=JOINS,
    dropped=python312.DROPPED,
    backward=python312.BACKWARD,
    binary=opcodes.operators(),
    compare=opcode.cmp_op,
    caches=opcodes.caches(),
    adaptive_caches=opcodes.adaptive_caches(),
    names=opcodes.names(),
    jumps=opcodes.jumps(),
    loop_end=_ENDS_LOOP,
    guards_generators=True,
    shortens_super=True,
)
