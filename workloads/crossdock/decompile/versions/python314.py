"""The bytecode of Python 3.14: small numbers, borrowed variables, special methods, templates."""

from __future__ import annotations

import opcode
from collections.abc import Callable, Mapping
from typing import Any

from crossdock.decompile.versions import opcodes, python313
from crossdock.decompile.versions.python313 import two
from crossdock.decompile.versions.table import Pieces, Table

_SPECIAL: Any = getattr(opcode, "_special_method_names", ())
_ENDS_LOOP = 4
"""Bytes of ``END_FOR`` and ``POP_ITER``."""


def binary(arg: int) -> Pieces:
    """An item is an operator, too."""
    return (("BINARY_SUBSCR", 0) if opcodes.operators()[arg] == "[]" else ("BINARY_OP", arg),)


def special(arg: int) -> Pieces:
    """A method of a type, by its name: ``LOAD__ENTER__``."""
    return ((f"LOAD{_SPECIAL[arg].upper()}", 0),)


def common(arg: int) -> Pieces:
    """A builtin that the compiler itself needs."""
    is_assertion = opcodes.common()[arg] == "AssertionError"
    return (("LOAD_ASSERTION_ERROR", 0) if is_assertion else ("LOAD_COMMON_CONSTANT", arg),)


PIECES: Mapping[str, Callable[[int], Pieces]] = {
    **python313.PIECES,
    "BINARY_OP": binary,
    "LOAD_COMMON_CONSTANT": common,
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": two("LOAD_FAST", "LOAD_FAST"),
    "LOAD_SPECIAL": special,
}
JOINS = {
    **python313.JOINS,
    "CALL": "entered",
    "CALL_FUNCTION_EX": "spread",
    "LOAD_SMALL_INT": "small_int",
    "NOT_TAKEN": "nothing",
}
SAME_AS = {
    **python313.TABLE.same_as,
    "LOAD_FAST_BORROW": "LOAD_FAST",
    "POP_ITER": "POP_TOP",
}


TABLE = Table(
    same_as=SAME_AS,
    pieces=PIECES,
    joins=JOINS,
    dropped=python313.TABLE.dropped,
    backward=python313.TABLE.backward,
    binary=opcodes.operators(),
    compare=opcode.cmp_op,
    caches=opcodes.caches(),
    adaptive_caches=opcodes.adaptive_caches(),
    names=opcodes.names(),
    jumps=opcodes.jumps() - {"END_ASYNC_FOR"},  # its target is for debuggers
    loop_end=_ENDS_LOOP,
    guards_generators=True,
    shortens_super=True,
    defers_annotations=True,
    marks_docstrings=True,
)
