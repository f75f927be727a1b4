"""Decompiler of Python's bytecode: source that compiles to the same instructions again."""

from crossdock.decompile.source import structured
from crossdock.decompile.verification import Verdict, verify

__all__ = ["Verdict", "structured", "verify"]
