"""Bytecode whose stack is empty at every statement, as that of source is.

Dynamo writes bytecode that no source compiles to: it copies, swaps and drops what is on the stack
amid expressions. Here the values that wait there while something else happens go into variables of
their own, in the order in which they are computed, so that the rest has the form of source. Blocks
are rewritten one by one; at their borders the stack is what it was. What is not understood stays.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from types import CodeType
from typing import Any

from torch._dynamo import bytecode_transformation as bytecode
from torch._dynamo.bytecode_transformation import Instruction

from crossdock.decompile.dynamo.blocks import JUMPS, Block, blocks, joined
from crossdock.decompile.dynamo.cells import cells_in_words
from crossdock.decompile.dynamo.waiting import Entry, Stack

PREFIX = "stack_"


def spilled(code: CodeType) -> CodeType | None:
    """The code with variables for what waits on the stack, and without those that it never uses.

    None if that changes nothing, and where Python is not 3.11.
    """
    if sys.version_info[:2] != (3, 11):
        return None
    prefix = PREFIX
    while any(name.startswith(prefix) for name in (*code.co_varnames, *code.co_names)):
        prefix = f"_{prefix}"
    names: list[str] = []

    def fresh() -> str:
        names.append(f"{prefix}{len(names)}")
        return names[-1]

    def rewrite(instructions: list[Instruction], options: dict[str, Any]) -> None:
        parts = blocks(instructions)
        _rewrite(parts, fresh)
        instructions[:] = joined(parts)
        used = {one.argval for one in instructions if one.opname.endswith("_FAST")}
        kept = [name for name in code.co_varnames[arguments:] if name in used | cells]
        # Outside its class: within it, the names of Dynamo's functions would become private ones.
        options["co_qualname"] = code.co_name
        options["co_varnames"] = (*code.co_varnames[:arguments], *kept, *names)

    arguments = code.co_argcount + code.co_kwonlyargcount
    arguments += bool(code.co_flags & inspect.CO_VARARGS)
    arguments += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    cells = set(code.co_cellvars)
    changed, _ = bytecode.transform_code_object(code, rewrite, safe=True)
    same = not names and changed.co_varnames == code.co_varnames
    return None if same and changed.co_qualname == code.co_qualname else changed


def _rewrite(parts: list[Block], fresh: Callable[[], str]) -> None:
    carried: dict[int, list[Entry]] = {}
    for number, part in enumerate(parts):
        if part.depth is None:
            continue  # nothing leads here
        part.instructions = list(cells_in_words(part.instructions))
        entries = carried.pop(number, None)
        stack = Stack(entries or [Entry("resident") for _ in range(part.depth)], fresh)
        if not _may_carry(parts, number):
            for one in part.instructions:
                stack.run(one)
            stack.settle()
        else:
            last = part.instructions.pop()
            for one in part.instructions:
                stack.run(one)
            if last.target is None:
                stack.run(last)
                stack.spill()
            elif last.opname in JUMPS:
                stack.spill()
                stack.out.append(last)
            else:
                stack.branch(last)
            for target in part.following:
                carried[target] = [replace(one, code=list(one.code)) for one in stack.entries]
        part.instructions = stack.out


def _may_carry(parts: list[Block], number: int) -> bool:
    """Whether what comes next comes from here only, and finds values in variables as well."""
    part = parts[number]
    last = part.last
    if last.target is not None and last.opname not in JUMPS and not last.opname.startswith("POP_J"):
        return False
    return all(
        target > number and parts[target].sources == 1 and not _handler_keeps(parts[target])
        for target in part.following
    )


def _handler_keeps(part: Block) -> bool:
    """Whether an exception there leaves values on the stack."""
    return part.handler is not None and part.handler.depth > 0
