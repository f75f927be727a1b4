"""What can go wrong with a measurement."""

from __future__ import annotations

from crossdock.proxy.errors import CrossdockError


class BenchFailed(CrossdockError):
    """A measurement could not be finished; the message says which rank failed, and how."""


class BaselineMissing(CrossdockError):
    """A baseline cannot run here; the message says what is missing and how to get it."""
