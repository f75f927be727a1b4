"""The bytecode of Python 3.10: a stack of blocks, an instruction for each operator, plain calls.

What an instruction does to blocks and to what they keep on the stack is in ``blocks``.
"""

from __future__ import annotations

import opcode
from collections.abc import Callable, Mapping

from crossdock.decompile.versions import opcodes
from crossdock.decompile.versions.table import Pieces, Table

_OPERATORS = {
    "ADD": "+",
    "AND": "&",
    "FLOOR_DIVIDE": "//",
    "LSHIFT": "<<",
    "MATRIX_MULTIPLY": "@",
    "MODULO": "%",
    "MULTIPLY": "*",
    "OR": "|",
    "POWER": "**",
    "RSHIFT": ">>",
    "SUBTRACT": "-",
    "TRUE_DIVIDE": "/",
    "XOR": "^",
}
BINARY = (*_OPERATORS.values(), *(f"{symbol}=" for symbol in _OPERATORS.values()))


def operator(at: int) -> Callable[[int], Pieces]:
    """``BINARY_OP`` of the operator with this number."""
    return lambda _: (("BINARY_OP", at),)


def call(arg: int) -> Pieces:
    """A call: the first argument is where newer versions have what a method is called on."""
    return (("CALL", arg - 1),) if arg else (("PUSH_NULL", 0), ("SWAP", 2), ("CALL", 0))


PIECES: Mapping[str, Callable[[int], Pieces]] = {
    **{f"BINARY_{name}": operator(at) for at, name in enumerate(_OPERATORS)},
    **{f"INPLACE_{name}": operator(at) for at, name in enumerate(_OPERATORS, len(_OPERATORS))},
    "CALL_FUNCTION": call,
    "CALL_FUNCTION_KW": lambda arg: (("CALL_KW", arg - 1),),
    "LOAD_GLOBAL": lambda arg: (("LOAD_GLOBAL", arg << 1),),
    "ROT_TWO": lambda _: (("ROT_N", 2),),
    "ROT_THREE": lambda _: (("ROT_N", 3),),
    "ROT_FOUR": lambda _: (("ROT_N", 4),),
    "SETUP_WITH": lambda arg: (("BEFORE_WITH", 0), ("SETUP_WITH", arg)),
}
TELLING = {"MATCH_CLASS": "MATCH_CLASS_TELLING", "MATCH_KEYS": "MATCH_KEYS_TELLING"}
"""Instructions that also push whether there is what a pattern asked for."""
JOINS = {
    "CALL": "exit_call",
    "CALL_KW": "keywords",
    "MAKE_FUNCTION": "qualified_name",
    "POP_JUMP_IF_FALSE": "found_parts",
    "ROT_N": "compared_twice",
}


TABLE = Table(
    same_as={
        "CALL_FUNCTION_EX": "CALL_TUPLE",
        "CALL_METHOD": "CALL",
        **TELLING,
        "JUMP_ABSOLUTE": "JUMP",
        "JUMP_FORWARD": "JUMP",
    },
    pieces=PIECES,
    joins=JOINS,
    dropped=frozenset({"NOP", "GEN_START", "EXTENDED_ARG"}),
    backward=frozenset(),
    binary=BINARY,
    compare=opcode.cmp_op,
    caches=opcodes.caches(),
    adaptive_caches=opcodes.adaptive_caches(),
    names=opcodes.names(),
    jumps=opcodes.jumps(),
    absolute=opcodes.absolute_jumps(),
    has_blocks=True,
    cells_apart=True,
)
