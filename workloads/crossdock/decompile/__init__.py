"""Decompiler of Python's bytecode: source that compiles to the same instructions again."""

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
    "decompile",
    "recompile",
    "verify",
]
