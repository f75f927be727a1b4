"""Who called a function when it was compiled; torch's own record leaves the nearest caller out."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import FrameType

import torch

from crossdock.decompile.dynamo.index import Line

CALLERS_MAX = 20
"""That are kept, the nearest ones."""
_NOT_CALLERS = (
    *(str(Path(str(module.__file__)).parent) + "/" for module in (torch, logging)),
    str(Path(__file__).parents[1]) + "/",
    "<frozen ",
)


def callers() -> list[Line]:
    """The lines outside of torch that this thread is in, the innermost last."""
    found: list[Line] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < CALLERS_MAX:
        code = frame.f_code
        if not code.co_filename.startswith(_NOT_CALLERS):
            line = Line(file=code.co_filename, line=frame.f_lineno, function=code.co_name)
            found.append(line)
        frame = frame.f_back
    return found[::-1]
