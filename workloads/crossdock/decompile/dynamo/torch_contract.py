"""The versions of torch that dumps were tested with, and what of torch they rest on.

All that a dump takes from torch beyond its public calls, and can do without, is named here; where a
torch lacks it, the dump lacks a part, and says which.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch

Version = tuple[int, int]

OLDEST: Version = (2, 13)
BEYOND: Version = (2, 15)
"""The first version that was not tested."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A name in a module of torch, and what there is only with it."""

    module: str
    name: str
    gives: str


PARTS = (
    Part("torch._logging.structured", "INTERN_TABLE", "the files of functions"),
    Part("torch._dynamo.resume_execution", "ContinueExecutionCache.cache", "resume functions"),
    Part("torch._dynamo.guards", "_get_closure_vars", "guards that can be called"),
    Part("torch._dynamo.guards", "SYMPY_INTERP", "guards of sizes that can be called"),
    Part("torch.fx.graph_module", "_exec_with_source", "files that the code of graphs runs from"),
    Part("torch._inductor.codecache", "PyCodeCache.modules", "Inductor's code"),
)


def untested(version: str) -> str | None:
    """What is to be said of a version outside of the tested ones; None of a tested one."""
    numbers = version.split("+")[0].split(".")[: len(OLDEST)]
    known = len(numbers) == len(OLDEST) and all(number.isdigit() for number in numbers)
    if known and OLDEST <= tuple(map(int, numbers)) < BEYOND:
        return None
    return (
        f"torch is {version}, but dumps were tested with {_text(OLDEST)} up to, but without, "
        f"{_text(BEYOND)}; they may miss something"
    )


@functools.cache
def warn() -> None:
    """Say once in a process that its torch is none of the tested ones, if so."""
    said = untested(torch.__version__)
    if said is not None:
        _log.warning("%s", said)


def missing() -> Iterator[str]:
    """What this torch lacks, and what dumps lack for it; of the modules that are imported."""
    for part in PARTS:
        found: object = sys.modules.get(part.module)
        if found is None:
            continue
        for name in part.name.split("."):
            found = getattr(found, name, None)
        if found is None:
            yield f"torch {torch.__version__} has no {part.module}.{part.name}: no {part.gives}"


def _text(version: Version) -> str:
    return ".".join(map(str, version))
