"""``python -m tests.decompile.dynamo.stored FOLDER``: what Dynamo makes of the programs, stored.

A file ``N.code`` for each code object that Dynamo transforms: a corpus for ``crossdock bench
decompile``. Texts stand for constants that no file of bytecode can hold.
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

from crossdock.decompile.dynamo.constants import taken_out


def store(folder: Path) -> int:
    """Run all programs compiled; how many code objects were stored."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[bytes] = []

    def keep(code: CodeType, new_code: CodeType) -> None:
        found.append(marshal.dumps(taken_out(new_code)[0]))

    hook = register_bytecode_hook(keep)
    try:
        for around, kind in programs.CASES:
            torch._dynamo.reset()
            programs.behaviour(eager(programs.program(around, kind)))
    finally:
        hook.remove()
    for at, text in enumerate(found):
        (folder / f"{at:04}.code").write_bytes(text)
    return len(found)


if __name__ == "__main__":
    print(f"{store(Path(sys.argv[1]))} code objects stored")
