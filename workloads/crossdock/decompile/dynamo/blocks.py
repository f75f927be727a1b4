"""Basic blocks of bytecode that is about to be rewritten, with the height of the stack at each."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch._dynamo.bytecode_transformation import (
    Instruction,
    InstructionExnTabEntry,
    create_instruction,
)

LEAVES = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE"})
JUMPS = frozenset({"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"})


@dataclass
class Block:
    """Instructions that run one after the other, under one exception handler.

    ``depth`` is the height of the stack before them; None if nothing leads there. ``head`` stands
    before them, for jumps to lead to, whatever becomes of the instructions. ``first``, ``last`` and
    ``handler`` are what they were before. ``following`` are the numbers of the blocks that control
    goes to next, but for handlers; ``sources`` is from how many places it comes here.
    """

    instructions: list[Instruction]
    head: Instruction
    first: Instruction
    last: Instruction
    handler: InstructionExnTabEntry | None
    depth: int | None = None
    following: list[int] = field(default_factory=list)
    sources: int = 0


def blocks(instructions: list[Instruction]) -> list[Block]:
    """Cut the instructions into blocks."""
    targets = {one.target for one in instructions if one.target is not None}
    targets |= {one.exn_tab_entry.target for one in instructions if one.exn_tab_entry}
    found: list[Block] = []
    before: Instruction | None = None
    for one in instructions:
        if (
            before is None
            or one in targets
            or before.target is not None
            or before.opname in LEAVES
            or before.exn_tab_entry != one.exn_tab_entry
        ):
            head = create_instruction("NOP")
            found.append(Block([], head, first=one, last=one, handler=one.exn_tab_entry))
        found[-1].instructions.append(one)
        found[-1].last = one
        before = one
    _find_depths(found)
    return found


def joined(parts: list[Block]) -> list[Instruction]:
    """The instructions in a row again, with jumps and handlers as they were."""
    heads = {part.first: part.head for part in parts}
    lasts = {part.last: (part.instructions or [part.head])[-1] for part in parts}
    found: list[Instruction] = []
    for part in parts:
        handler = None
        if part.handler is not None:
            handler = replace(
                part.handler,
                start=heads[part.handler.start],
                end=lasts[part.handler.end],
                target=heads[part.handler.target],
            )
        for one in (part.head, *part.instructions):
            one.exn_tab_entry = replace(handler) if handler else None  # torch wants one for each
            if one.target is not None:
                one.target = heads.get(one.target, one.target)
            found.append(one)
    return found


def _find_depths(parts: list[Block]) -> None:
    place = {part.first: number for number, part in enumerate(parts)}
    todo = [(0, 0)]
    while todo:
        number, depth = todo.pop()
        if number >= len(parts):
            continue
        part = parts[number]
        part.sources += 1
        if part.depth is not None:
            continue
        part.depth = depth
        if part.handler is not None:
            handler = parts[place[part.handler.target]]
            handler.sources += 1  # besides itself: never the only one
            todo.append((place[part.handler.target], _handled(part.handler)))
        onward = list(_following(part, number, place))
        part.following = [target for target, _ in onward]
        todo += onward


def _handled(handler: InstructionExnTabEntry) -> int:
    return handler.depth + bool(handler.lasti) + 1


def _following(
    part: Block, number: int, place: dict[Instruction, int]
) -> Iterator[tuple[int, int]]:
    depth = part.depth or 0
    for one in part.instructions:
        if one.target is not None:
            yield place[one.target], depth + _effect(one, jump=True)
        depth += _effect(one, jump=False)
    if part.last.opname not in LEAVES | JUMPS:
        yield number + 1, depth


def _effect(one: Instruction, *, jump: bool) -> int:
    argument = one.arg if one.opcode >= dis.HAVE_ARGUMENT else None
    return dis.stack_effect(one.opcode, argument, jump=jump)
