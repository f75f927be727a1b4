"""What ranks do that are watched, or not: compile functions, run them, and at last compile two
different things.

The functions stand in a script of their own, as a user's would, since what is compiled is named by
its file and line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

PARTING = "parting"
"""The function that the last rank compiles otherwise."""
LINGER_S = 2.0
"""For which ranks go on after it: who warns at the end only is late by so much."""
_SIZE = 64
_SCRIPT = """from crossdock.bench import decompile_watch_rank
import torch
{functions}

def parting(x, flag):
    if flag:
        return x + 1
    return x - 1


decompile_watch_rank.main([{names}], parting)
"""
_FUNCTION = """

def layer_{number}(x, scale):
    y = torch.tanh(x @ x) * scale + {number}
    torch._dynamo.graph_break()
    if y.size(0) > {number}:
        y = y - y.mean(dim=0)
    return torch.relu(y) / {_SIZE}
"""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank says of its run; times by the monotonic clock, which ranks of a host share."""

    compile_s: float
    """Until each function has run once."""
    steps_s: float
    """Of all further calls."""
    result: float
    """Made of all that was computed."""
    parted_at: float | None
    """When the last function had been compiled; None where it was not asked for."""
    ended_at: float


def script(functions: int) -> str:
    """The text with so many functions to compile, each with a graph break."""
    numbers = range(functions)
    return _SCRIPT.format(
        functions="".join(_FUNCTION.format(number=one, _SIZE=_SIZE) for one in numbers),
        names=", ".join(f"layer_{one}" for one in numbers),
    )


def file_of(folder: Path, rank: int) -> Path:
    """Where a rank writes what it tells."""
    return folder / f"rank_{rank}.json"


def main(layers: Sequence[Callable[..., Any]], parting: Callable[..., Any]) -> None:
    """Be a rank, with the words folder, backend, steps, and 1 where the ranks are to part."""
    folder, backend, steps, parts = sys.argv[1:]
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    compiled = [torch.compile(one, backend=backend, dynamic=False) for one in layers]
    x = torch.linspace(-1.0, 1.0, _SIZE * _SIZE).reshape(_SIZE, _SIZE)
    begin = time.monotonic()
    result = sum(float(one(x, 1.5).sum()) for one in compiled)
    stepping = time.monotonic()
    for _ in range(int(steps)):
        for one in compiled:
            y = one(x, 1.5)
    stepped = time.monotonic()
    result += float(y.sum()) if int(steps) else 0.0
    parted_at = None
    if int(parts):
        torch.compile(parting, backend=backend, dynamic=False)(x, rank == ranks - 1)
        parted_at = time.monotonic()
        time.sleep(LINGER_S)
    told = Told(
        compile_s=stepping - begin,
        steps_s=stepped - stepping,
        result=result,
        parted_at=parted_at,
        ended_at=time.monotonic(),
    )
    file_of(Path(folder), rank).write_bytes(msgspec.json.encode(told))
