"""What a score has been made in spite of."""

from __future__ import annotations


class IllConditioned(UserWarning):
    """Sums of squares do not tell some features from sums of others; a root would."""


class NoInterval(UserWarning):
    """No interval could be made; the message says why."""
