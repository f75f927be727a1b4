"""What can go wrong with a run as such."""

from __future__ import annotations

from crossdock.proxy.errors import CrossdockError


class ClusterAbsent(CrossdockError, ConnectionError):
    """No Ray cluster answers at the address; the message says what was tried."""


class ClusterTooSmall(CrossdockError, ValueError):
    """No node of the cluster can ever hold a task; the message says what it asks for."""


class FolderRefused(CrossdockError, FileExistsError):
    """The folder of the run holds something else, or another run."""


class KeptUnreadable(CrossdockError, OSError):
    """A value that an earlier run has kept cannot be read; the message names the file."""


class RunStalled(CrossdockError, TimeoutError):
    """No part has ended within the deadline; the message names those that are waited for."""
