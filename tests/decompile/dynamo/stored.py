"""``python -m tests.decompile.dynamo.stored FOLDER``: what Dynamo makes of the programs, stored.

A file ``N.code`` for each code object that Dynamo transforms: a corpus for ``crossdock bench
decompile``.
"""

from __future__ import annotations

import marshal
import sys
from pathlib import Path
from types import CodeType

import torch
from tests.decompile.dynamo import programs
from tests.decompile.dynamo.dumps import eager
from torch._dynamo.convert_frame import register_bytecode_hook


def store(folder: Path) -> tuple[int, int]:
    """Run all programs compiled; how many code objects were stored, how many could not be."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = [0, 0]

    def keep(code: CodeType, new_code: CodeType) -> None:
        try:
            text = marshal.dumps(new_code)
        except ValueError:  # a constant that no file of bytecode can hold
            counts[1] += 1
            return
        (folder / f"{counts[0]:04}.code").write_bytes(text)
        counts[0] += 1

    hook = register_bytecode_hook(keep)
    try:
        for around, kind in programs.CASES:
            torch._dynamo.reset()
            programs.behaviour(eager(programs.program(around, kind)))
    finally:
        hook.remove()
    return counts[0], counts[1]


if __name__ == "__main__":
    stored, lost = store(Path(sys.argv[1]))
    print(f"{stored} code objects stored, {lost} not")
