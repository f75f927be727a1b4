"""The bytecode of Python 3.12: inlined comprehensions, fewer instructions, guarded generators."""

from __future__ import annotations

import opcode
from collections.abc import Callable, Mapping
from typing import Any

from crossdock.decompile.versions import opcodes
from crossdock.decompile.versions.table import Pieces, Table

_ONE: Any = getattr(opcode, "_intrinsic_1_descs", ())
_TWO: Any = getattr(opcode, "_intrinsic_2_descs", ())

SUPER = ("LOAD_ZERO_SUPER_ATTR", "LOAD_SUPER_ATTR")
_FOR_A_CALL: Pieces = (("PUSH_NULL", 0), ("SWAP", 2))


def super_attribute(arg: int) -> Pieces:
    """Bit 0: a method, which is called; bit 1: ``super`` has arguments."""
    return (SUPER[arg >> 1 & 1], arg >> 2), *(_FOR_A_CALL if arg & 1 else ())


def intrinsic(names: list[str]) -> Callable[[int], Pieces]:
    """The function that the argument is the number of, as an instruction."""
    found = [name.partition("_")[2].removeprefix("1_").removeprefix("2_") for name in names]
    return lambda arg: ((found[arg], 0),)


PIECES: Mapping[str, Callable[[int], Pieces]] = {
    "BINARY_SLICE": lambda _: (("BUILD_SLICE", 2), ("BINARY_SUBSCR", 0)),
    "STORE_SLICE": lambda _: (("BUILD_SLICE", 2), ("STORE_SUBSCR", 0)),
    "CALL_INTRINSIC_1": intrinsic(_ONE),
    "CALL_INTRINSIC_2": intrinsic(_TWO),
    "COMPARE_OP": lambda arg: (("COMPARE_OP", arg >> 4),),
    "LOAD_ATTR": lambda arg: (("LOAD_METHOD" if arg & 1 else "LOAD_ATTR", arg >> 1),),
    "LOAD_SUPER_ATTR": super_attribute,
    "RETURN_CONST": lambda arg: (("LOAD_CONST", arg), ("RETURN_VALUE", 0)),
    "YIELD_VALUE": lambda _: (("YIELD_VALUE", 0),),  # the argument is a depth, or of no effect
}
JOINS = {
    "COPY": "groups",
    "LOAD_FROM_DICT_OR_DEREF": "class_cell",
    "POP_TOP": "kept_test",
}
SAME_AS = {
    "JUMP_FORWARD": "JUMP",
    "JUMP_BACKWARD": "JUMP",
    "JUMP_BACKWARD_NO_INTERRUPT": "JUMP",
    "LOAD_FAST_CHECK": "LOAD_FAST",
}
DROPPED = frozenset(
    {"NOP", "CACHE", "RESUME", "MAKE_CELL", "COPY_FREE_VARS", "EXTENDED_ARG", "END_FOR", "END_SEND"}
)
BACKWARD = frozenset({"JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"})


TABLE = Table(
    same_as=SAME_AS,
    pieces=PIECES,
    joins=JOINS,
    dropped=DROPPED,
    backward=BACKWARD,
    binary=opcodes.operators(),
    compare=opcode.cmp_op,
    caches=opcodes.caches(),
    adaptive_caches=opcodes.adaptive_caches(),
    names=opcodes.names(),
    jumps=opcodes.jumps(),
    loop_end=2,
    guards_generators=True,
    shortens_super=True,
)
