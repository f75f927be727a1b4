"""How instructions change the height of the stack, whatever the version of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

_FIXED: Final = {
    -3: ("STORE_SUBSCR",),
    -2: (
        *("DELETE_SUBSCR", "END_ASYNC_FOR", "MAP_ADD", "MATCH_CLASS", "STORE_ATTR"),
        *("LOAD_SUPER_ATTR", "LOAD_ZERO_SUPER_ATTR"),
    ),
    -1: (
        *("ANNOTATION", "BINARY_OP", "BINARY_SUBSCR", "BUILD_TEMPLATE", "COMPARE_OP"),
        *("CONTAINS_OP", "IS_OP"),
        *("DICT_MERGE", "DICT_UPDATE", "LIST_APPEND", "LIST_EXTEND", "SET_ADD", "SET_UPDATE"),
        *("DELETE_ATTR", "IMPORT_NAME", "IMPORT_STAR", "PRINT_EXPR", "PREP_RERAISE_STAR"),
        *("POP_EXCEPT", "POP_TOP", "RERAISE", "RETURN_VALUE", "YIELD_FROM"),
        *("STORE_DEREF", "STORE_FAST", "STORE_GLOBAL", "STORE_NAME"),
        *("TYPEVAR_WITH_BOUND", "TYPEVAR_WITH_CONSTRAINTS"),
        *("SET_FUNCTION_TYPE_PARAMS", "SET_TYPEPARAM_DEFAULT"),
    ),
    0: (
        *("ANNOTATED", "ANNOTATED_IF", "ASYNC_GEN_WRAP", "COPY_DICT_WITHOUT_KEYS"),
        *("CHECK_EG_MATCH", "CHECK_EXC_MATCH", "COMPREHENSION"),
        *("CONVERT_VALUE", "DELETE_DEREF", "DELETE_FAST", "DELETE_GLOBAL", "DELETE_NAME"),
        *("GET_AITER", "GET_AWAITABLE", "GET_ITER", "GET_YIELD_FROM_ITER"),
        *("JUMP", "KW_NAMES", "LIST_TO_TUPLE", "LOAD_ATTR", "NOP", "RETURN_GENERATOR", "SEND"),
        *("SETUP_ANNOTATIONS", "SWAP", "YIELD_VALUE", "TO_BOOL"),
        *("UNARY_INVERT", "UNARY_NEGATIVE", "UNARY_NOT", "UNARY_POSITIVE"),
        *("LOAD_FROM_DICT_OR_DEREF", "LOAD_FROM_DICT_OR_GLOBALS"),
        *("TYPEVAR", "PARAMSPEC", "TYPEVARTUPLE", "SUBSCRIPT_GENERIC", "TYPEALIAS"),
    ),
    1: (
        *("ANNOTATIONS", "COPY", "GET_ANEXT", "GET_LEN", "IMPORT_FROM", "LOAD_ASSERTION_ERROR"),
        *("LOAD_BUILD_CLASS", "LOAD_CLASSDEREF", "LOAD_CLOSURE", "LOAD_COMMON_CONSTANT"),
        *("LOAD_CONST", "LOAD_DEREF"),
        *("LOAD_FAST", "LOAD_FAST_AND_CLEAR", "LOAD_LOCALS", "LOAD_NAME", "PUSH_NULL"),
        *("MATCH_KEYS", "MATCH_MAPPING", "MATCH_SEQUENCE", "WITH_EXCEPT_START"),
    ),
}
_BY_ARGUMENT: Final[Mapping[str, Callable[[int], int]]] = {
    **dict.fromkeys(
        ("BUILD_LIST", "BUILD_SET", "BUILD_STRING", "BUILD_TUPLE"), lambda arg: 1 - arg
    ),
    "BUILD_CONST_KEY_MAP": lambda arg: -arg,
    "BUILD_INTERPOLATION": lambda arg: -1 - (arg & 1),
    "BUILD_MAP": lambda arg: 1 - 2 * arg,
    "BUILD_SLICE": lambda arg: -2 if arg == 3 else -1,
    "CALL": lambda arg: -arg - 1,
    "CALL_FUNCTION_EX": lambda arg: -2 - (arg & 1),
    "CALL_TUPLE": lambda arg: -1 - (arg & 1),
    "FORMAT_VALUE": lambda arg: -1 if arg & 4 else 0,
    "LOAD_GLOBAL": lambda arg: 1 + (arg & 1),
    "MAKE_FUNCTION": lambda arg: -(arg & 31).bit_count(),
    "RAISE_VARARGS": lambda arg: -arg,
    "UNPACK_EX": lambda arg: (arg & 255) + (arg >> 8),
    "UNPACK_SEQUENCE": lambda arg: arg - 1,
}
_NET: Final[Mapping[str, int]] = {name: net for net, names in _FIXED.items() for name in names}

_LOOKED_AT: Final = {
    **dict.fromkeys(("GET_ANEXT", "GET_LEN", "IMPORT_FROM", "MATCH_MAPPING", "MATCH_SEQUENCE"), 1),
    **dict.fromkeys(
        ("CHECK_EG_MATCH", "CHECK_EXC_MATCH", "COPY_DICT_WITHOUT_KEYS", "MATCH_KEYS"), 2
    ),
    "MATCH_CLASS": 3,
    "WITH_EXCEPT_START": 4,
}


def looked_at(op: str) -> int:
    """How many values an instruction wants on the stack, that does not take them all."""
    return _LOOKED_AT.get(op, 0)


def net(op: str, arg: int) -> int | None:
    """How many values more there are after an instruction; None for one that is not known.

    Instructions that change more than the height, or jump, are not here.
    """
    of = _BY_ARGUMENT.get(op)
    return _NET.get(op) if of is None else of(arg)
