"""Decompiler of Python's bytecode: source that compiles to the same instructions again.

What concerns torch.compile is in ``crossdock.decompile.dynamo``. Its calls are here, too; torch is
imported when one of them is first used.
"""

from typing import Any

from crossdock.decompile.decompilation import Decompilation, decompile
from crossdock.decompile.errors import (
    CorruptCode,
    DecompileError,
    Unstructured,
    UnsupportedVersion,
)
from crossdock.decompile.recompilation import recompile
from crossdock.decompile.verification import Verdict, verify

__all__ = [
    "CorruptCode",
    "Decompilation",
    "DecompileError",
    "Unstructured",
    "UnsupportedVersion",
    "Verdict",
    "debug",
    "decompile",
    "install",
    "install_as_depyf",
    "prepare_debug",
    "recompile",
    "uninstall",
    "verify",
]

_OF_DYNAMO = {"debug", "install", "install_as_depyf", "prepare_debug", "uninstall"}


def __getattr__(name: str) -> Any:
    if name in _OF_DYNAMO:
        from crossdock.decompile import dynamo

        return getattr(dynamo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
