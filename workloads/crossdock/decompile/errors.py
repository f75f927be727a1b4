"""What can go wrong with a decompilation."""

from __future__ import annotations

from crossdock.proxy.errors import ArgumentError


class DecompileError(ArgumentError):
    """A code object cannot be turned into source; the message says where and why."""


class CorruptCode(DecompileError):
    """The bytecode contradicts itself: no compiler wrote it."""


class UnsupportedVersion(DecompileError):
    """The bytecode of this Python is not known here."""


class Unstructured(DecompileError):
    """The flow of control, or the order of evaluation, is not that of structured source."""
