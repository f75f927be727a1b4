"""What ranking raises."""

from __future__ import annotations

from crossdock.proxy.errors import CrossdockError


class ModelFailed(CrossdockError, RuntimeError):
    """A model gave no features that can be scored; the message is its reason in the table."""


class NotAvailable(CrossdockError, RuntimeError):
    """A score has no value for this model; the message says what is missing."""
