"""What can go wrong with a dump as such; a compilation never fails because of one."""

from __future__ import annotations

from crossdock.proxy.errors import ArgumentError, CrossdockError


class DumpRefused(CrossdockError, FileExistsError):
    """The folder holds something that is no dump; the message names it."""


class DumpUnreadable(CrossdockError, ValueError):
    """An index is truncated, or of another format; the message names the file."""


class NotPrepared(CrossdockError, RuntimeError):
    """``debug`` was called where nothing has been dumped, or inside ``prepare_debug``."""


class LineUnknown(ArgumentError):
    """A line is none of a decompiled file; the message says which lines are."""


class StoreAbsent(CrossdockError, ConnectionError):
    """The store, through which ranks tell what they compile, does not answer."""
