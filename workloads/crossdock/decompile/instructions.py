"""Code objects as lists of instructions, the same for every version of Python."""

from __future__ import annotations

import opcode
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import cast

from crossdock.decompile import blocks, exception_table, lowering
from crossdock.decompile.errors import CorruptCode, DecompileError
from crossdock.decompile.exception_table import Entry
from crossdock.decompile.versions import opcodes
from crossdock.decompile.versions import table as versions
from crossdock.decompile.versions.table import Pieces, Table

INSTRUCTIONS_MAX = 100_000
"""Longer code is refused: no source of a file's usual length compiles to it."""

_CONSTANTS = frozenset({"LOAD_CONST", "KW_NAMES"})
_CONTAINERS = frozenset({tuple, frozenset, slice})
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis), CodeType})
CONSTANT_DEPTH_MAX = 100
"""Of tuples in tuples."""

_LOCALS = frozenset({"LOAD_FAST", "STORE_FAST", "DELETE_FAST", "LOAD_FAST_AND_CLEAR"})
_CELLS = frozenset(
    {
        *("LOAD_CLOSURE", "LOAD_DEREF", "STORE_DEREF", "DELETE_DEREF"),
        *("LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"),
    }
)
_NAMED = frozenset(
    {
        *("LOAD_NAME", "STORE_NAME", "DELETE_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"),
        *("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"),
        *("LOAD_SUPER_ATTR", "LOAD_ZERO_SUPER_ATTR", "LOAD_FROM_DICT_OR_GLOBALS"),
        *("IMPORT_NAME", "IMPORT_FROM"),
    }
)
_TARGETS = frozenset({"FOR_ITER", "SEND", "JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP"})
_GENERATORS = 32 | 128 | 512


@dataclass(slots=True)
class Instruction:
    """One instruction.

    ``value`` is what its argument stands for: a name, a constant, an operator, else the number.
    ``target`` is the index of the instruction that it may jump to, -1 for none. ``handler`` is the
    entry of the exception table that protects it.
    """

    op: str
    arg: int
    value: object
    target: int
    offset: int
    handler: Entry | None


def read(code: CodeType) -> list[Instruction]:
    """All instructions; CorruptCode where bytes, jumps or tables make no sense."""
    table = versions.running()
    found: list[Instruction] = []
    starts: set[int] = set()
    jumps: dict[int, int] = {}
    _expect_whole(code, table)
    variables = _variables(code, table)
    for start, number, arg, after in _decoded(code.co_code, table):
        name = table.names[number]
        starts.add(start)
        for op, part in _pieces(name, arg, table):
            if op in table.dropped:
                op = "NOP"
            value = _value(code, op, part, table, variables)
            if op in _CONSTANTS:
                _expect_plain(value, code.co_name)
            found.append(Instruction(op, part, value, -1, start, None))
        target = _target(name, arg, after, table)
        if target is not None:
            jumps[start] = found[-1].target = target
    _expect_targets(code, jumps, starts)
    _protect(code, found, starts)
    found = lowering.threaded(found)
    targets = {one.target for one in found}
    targets |= {one.handler.target for one in found if one.handler is not None}
    found = lowering.lowered(found, table, targets)
    if table.has_blocks:
        found = blocks.unblocked(code.co_name, found)
    if table.guards_generators:
        lowering.unguard(code.co_name, found, bool(code.co_flags & _GENERATORS))
    offsets = [one.offset for one in found]
    for one in found:
        if one.target >= 0:
            one.target = bisect_left(offsets, one.target)
    return found


def _target(name: str, arg: int, after: int, table: Table) -> int | None:
    """The byte that an instruction may jump to, None for one that does not jump.

    The argument has a sign for the interpreter: Python 3.10 may jump forward by less than nothing.
    """
    if name in table.absolute:
        return 2 * arg
    if name not in table.jumps and name not in _TARGETS:
        return None
    way = -1 if name in table.backward else 1
    skipped = table.loop_end if name == "FOR_ITER" else 0
    distance = arg - (1 << 32) if arg >> 31 else arg
    return after + 2 * way * distance + skipped


def _variables(code: CodeType, table: Table) -> tuple[str, ...]:
    """Locals, cells and free variables by the arguments of instructions on them; without locals if
    cells are apart."""
    if table.cells_apart:
        return (*code.co_cellvars, *code.co_freevars)
    cells = (name for name in code.co_cellvars if name not in code.co_varnames)
    return (*code.co_varnames, *cells, *code.co_freevars)


def _pieces(name: str, arg: int, table: Table) -> Pieces:
    of = table.pieces.get(name)
    try:
        return ((table.same_as.get(name, name), arg),) if of is None else of(arg)
    except IndexError as error:
        raise CorruptCode(f"{name} has no meaning for {arg}") from error


def _expect_targets(code: CodeType, jumps: dict[int, int], starts: set[int]) -> None:
    for start, target in jumps.items():
        if target not in starts:
            raise CorruptCode(
                f"{code.co_name}: the jump at byte {start} leads to byte {target}, "
                "where no instruction begins"
            )


def _expect_whole(code: CodeType, table: Table) -> None:
    """CorruptCode if cache entries of the last instruction are missing.

    CPython 3.11 writes past the end of such code when ``co_code`` is asked for.
    """
    raw: bytes = getattr(code, "_co_code_adaptive", b"")  # without it there are no cache entries
    at = 0
    while at + 1 < len(raw):
        at += 2 + 2 * table.adaptive_caches[raw[at]]
    if at > len(raw):
        raise CorruptCode(f"{code.co_name}: the bytecode breaks off amid an instruction")


def _decoded(raw: bytes, table: Table) -> Iterator[tuple[int, int, int, int]]:
    """Offset (of the first EXTENDED_ARG), opcode, argument, offset after caches."""
    if len(raw) % 2 or len(raw) > 2 * INSTRUCTIONS_MAX:
        raise CorruptCode(f"{len(raw)} bytes of bytecode; want an even number, no large one")
    position, extended, start = 0, 0, 0
    while position < len(raw):
        number = raw[position]
        arg = extended << 8 | raw[position + 1]
        position += 2
        if number == opcode.EXTENDED_ARG:
            if arg >= 1 << 24:
                raise CorruptCode(f"the argument at byte {start} has more than 32 bits")
            extended = arg
            continue
        if table.names[number].startswith("<"):
            raise CorruptCode(f"no instruction has the number {number}, at byte {start}")
        position += 2 * table.caches[number]
        yield start, number, arg, position
        extended, start = 0, position
    if extended:
        raise CorruptCode("the bytecode ends in an EXTENDED_ARG")


def _value(code: CodeType, op: str, arg: int, table: Table, variables: tuple[str, ...]) -> object:
    try:
        if op in _CONSTANTS:
            return code.co_consts[arg]
        if op == "LOAD_GLOBAL":
            return code.co_names[arg >> 1]
        if op in _LOCALS and table.cells_apart:
            return code.co_varnames[arg]
        if op in _LOCALS or op in _CELLS:
            return variables[arg]
        if op == "COMPARE_OP":
            return table.compare[arg]
        if op == "BINARY_OP":
            return table.binary[arg]
        if op == "LOAD_COMMON_CONSTANT":
            return opcodes.common()[arg]
        if op in _NAMED:
            return code.co_names[arg]
    except (IndexError, ValueError) as error:
        raise CorruptCode(f"{code.co_name}: {op} has no entry {arg} in its table") from error
    return arg


def _expect_plain(value: object, name: str, depth: int = 0) -> None:
    """DecompileError for a constant that no source spells, whose methods must not run."""
    if type(value) in _CONTAINERS and depth < CONSTANT_DEPTH_MAX:
        found = (value.start, value.stop, value.step) if type(value) is slice else value
        for one in cast("tuple[object, ...]", found):
            _expect_plain(one, name, depth + 1)
    elif type(value) not in _PLAIN:
        raise DecompileError(f"{name} has a constant of type {type(value).__name__}")


def _protect(code: CodeType, found: list[Instruction], starts: set[int]) -> None:
    table = exception_table.entries(getattr(code, "co_exceptiontable", b""))
    offsets = [instruction.offset for instruction in found]
    last, same = -1, dict[tuple[int, int, bool], Entry]()
    for entry in table:
        if entry.target not in starts or entry.start < last:
            raise CorruptCode(f"{code.co_name}: the exception table has a bad entry {entry}")
        last = entry.start
        first = bisect_right(offsets, entry.start - 1)
        for index in range(first, bisect_right(offsets, entry.end - 1)):
            if found[index].handler is not None:
                raise CorruptCode(f"{code.co_name}: entries of the exception table overlap")
            # one entry for all ranges that it protects, between which there may be nothings
            found[index].handler = same.setdefault((entry.target, entry.depth, entry.lasti), entry)
