"""What can go wrong with the dumps of several ranks, or with starting these."""

from __future__ import annotations

from crossdock.proxy.errors import ArgumentError


class NoDumps(ArgumentError):
    """A folder holds no dumps of ranks; the message says what was looked for."""


class RankMissing(ArgumentError):
    """The dump of a rank is not there, or cannot be read; the message names it."""


class LaunchRefused(ArgumentError):
    """The script cannot be started as it was asked for; the message says what to change."""
