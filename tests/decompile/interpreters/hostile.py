"""Runs inside: code objects that no compiler wrote end in a typed error, or are proved.

Prints a line of JSON for each that ends otherwise; the last line counts what came of all.
"""

from __future__ import annotations

import json
import opcode
import random
import sys
from collections import Counter
from types import CodeType

sys.path[:0] = ["/crossdock", "/crossdock/decompile", "/crossdock/proxy"]

from tests.decompile import programs  # noqa: E402

from crossdock.decompile import Decompilation, DecompileError  # noqa: E402
from crossdock.decompile.versions import table as versions  # noqa: E402

CHANGED, CUT, TABLES = 400, 80, 80


BYTES = [
    number
    for number in range(256)
    if number < getattr(opcode, "MIN_INSTRUMENTED_OPCODE", 256)
    and opcode.opname[number] != "ENTER_EXECUTOR"
]
"""With others CPython itself fails as it makes a code object, or as it is asked for its bytes."""


def is_whole(raw: bytes | bytearray) -> bool:
    """Whether the cache entries of the last instruction are there; else CPython writes past them
    as it makes the code object."""
    caches, at = versions.running().adaptive_caches, 0
    while at < len(raw):
        at += 2 + 2 * caches[raw[at]]
    return at == len(raw)


def changed(source: random.Random, code: CodeType) -> CodeType:
    """With other bytes here and there."""
    while True:
        raw = bytearray(code.co_code)
        for _ in range(source.randint(1, 4)):
            raw[source.randrange(len(raw))] = source.choice(BYTES)
        if is_whole(raw):
            return code.replace(co_code=bytes(raw))


def cut(source: random.Random, code: CodeType) -> CodeType:
    """Broken off between instructions."""
    while True:
        raw = code.co_code[: 2 * source.randint(0, len(code.co_code) // 2)]
        if is_whole(raw):
            return code.replace(co_code=raw)


BLOCKS = [
    number
    for name, number in opcode.opmap.items()
    if name.startswith("SETUP_") or name in {"POP_BLOCK", "POP_EXCEPT", "RERAISE"}
]


def other_handlers(source: random.Random, code: CodeType) -> CodeType:
    """With handlers at random: in the table, or by instructions where there is none."""
    if hasattr(code, "co_exceptiontable"):
        return code.replace(co_exceptiontable=source.randbytes(source.randint(0, 40)))
    raw = bytearray(code.co_code)
    for _ in range(source.randint(1, 4)):
        at = 2 * source.randrange(len(raw) // 2)
        raw[at : at + 2] = source.choice(BLOCKS), source.randrange(len(raw) // 2) & 255
    return code.replace(co_code=bytes(raw))


def main() -> None:
    """Try all."""
    source = random.Random(8)
    seeds = [one.__code__ for one in programs.PROGRAMS]
    found: Counter[str] = Counter()
    for change, times in ((changed, CHANGED), (cut, CUT), (other_handlers, TABLES)):
        for _ in range(times):
            code = change(source, source.choice(seeds))
            try:
                outcome = "proved" if Decompilation(code).verdict.proved else "loop"
            except DecompileError as error:
                outcome = type(error).__name__
            except Exception as error:  # noqa: BLE001  (that there are none is what is tested)
                print(json.dumps([code.co_name, repr(error), code.co_code.hex()]))
                outcome = "other error"
            found[outcome] += 1
    print(json.dumps(found))


main()
