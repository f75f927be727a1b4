"""From lines of source to the bytecode that it was recovered from, and to the lines of that.

Source and bytecode are compared once more, instruction by instruction: what runs side by side
belongs together.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType

from crossdock.decompile.dynamo.index import Mapped
from crossdock.decompile.errors import DecompileError
from crossdock.decompile.flow import Flow
from crossdock.decompile.lockstep import Lockstep
from crossdock.decompile.verification import compiled


def source_map(code: CodeType, source: str) -> list[Mapped]:
    """All lines of `source` that compile to anything, in order.

    Args:
        code: what the source is of.
        source: proved to be the same; comments before it count as lines.

    Raises:
        DecompileError: it is not the same.
    """
    found: list[Mapped] = []
    todo = [(code, compiled(code, source))]

    def later(one: CodeType, other: CodeType) -> bool:
        todo.append((one, other))
        return True

    while todo:
        one, other = todo.pop()
        lockstep = Lockstep(left=Flow(one), right=Flow(other), same_code=later)
        if not lockstep.compare(0, 0):
            raise DecompileError(f"{code.co_name} has no map of lines: {lockstep.difference}")
        found += _mapped(lockstep)
    return sorted(set(found))


def _mapped(lockstep: Lockstep) -> Iterator[Mapped]:
    code = lockstep.left.code
    originals, lines = _lines(code), _lines(lockstep.right.code)
    offsets: dict[tuple[int, int], int] = {}
    for left, right in sorted(lockstep.pairs):
        offset = lockstep.left.instructions[left].offset
        line = lines.get(lockstep.right.instructions[right].offset)
        original = originals.get(offset)
        if line is not None and original is not None:
            offsets.setdefault((line, original), offset)
    # The first line of a code object is also that of all instructions that no line has made.
    elsewhere = {line for line, original in offsets if original != code.co_firstlineno}
    for (line, original), offset in offsets.items():
        if line not in elsewhere or original != code.co_firstlineno:
            yield Mapped(line=line, original=original, function=code.co_name, offset=offset)


def _lines(code: CodeType) -> dict[int, int]:
    """The line of each instruction, by its offset."""
    return {
        offset: line
        for start, end, line in code.co_lines()
        for offset in range(start, end, 2)
        if line is not None
    }
