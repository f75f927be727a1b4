"""What tests of dumps share: a function that breaks and is compiled again; looks into a dump."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import torch

from crossdock.decompile.dynamo import Index, load
from crossdock.decompile.dynamo.index import Artifact


def broken(x: torch.Tensor, n: int) -> torch.Tensor:
    """A graph before the break and one after it; another n or size compiles again."""
    y = x.sin() + n
    torch._dynamo.graph_break()
    return y.cos()


BREAK_LINE = broken.__code__.co_firstlineno + 3


def scaled(scale: float) -> Any:
    """A function with a cell."""

    def inner(x: torch.Tensor) -> torch.Tensor:
        return x * scale + 1

    return inner


def eager(function: Any, **options: Any) -> Any:
    """The function, compiled for the backend that runs graphs as they are."""
    made: Any = torch.compile(function, backend="eager", **options)
    return made


def index_of(folder: Path) -> Index:
    """The index, after it was seen that every file of the dump parses and is there."""
    found = load(folder)
    assert not found.faults
    names = {artifact.file for artifact in found.artifacts}
    written = {path.name for path in folder.glob("*.py")}
    assert written == names | {"full_code.py"}
    for name in written:
        ast.parse((folder / name).read_text())
    return found


def of_kind(index: Index, kind: str) -> list[Artifact]:
    """The files of one kind."""
    return [artifact for artifact in index.artifacts if artifact.kind == kind]
