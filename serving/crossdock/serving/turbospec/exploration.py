"""Learning what the plan in use does not show: longer drafts for a few requests, on a budget.

Without drafts nothing is learnt of their acceptance, so a controller that has switched speculation
off must look now and then, or it stays off for ever. In the same way a length of one tells nothing
of the second position. The time that probes lose is paid from a share of all time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crossdock.serving.turbospec.chooser import Choices
from crossdock.serving.turbospec.step import Verified

_FURTHER = 2
"""Positions beyond the length in use."""
_MOST_REQUESTS = 8
_SHARE_OF_REQUESTS = 8
_MOST_SAVED_S = (0.005, 0.02)
"""More time is not saved up, for probes by routine and for those that there is reason for: a long
calm must not end in a burst of probes."""
_FRESH_S = 2.0
"""So long what was seen of a position holds."""


class Probes:
    """Decides when to probe, and pays.

    Args:
        max_draft: the longest length.
        share: of the time, for probes.
    """

    def __init__(self, max_draft: int, share: float) -> None:
        self._max_draft = max_draft
        self._share = share
        self._saved_s = [0.0, 0.0]
        self._age_s = np.full(max_draft, np.inf)
        self._next = 0

    def pass_by(self, seconds: float) -> None:
        """Time has passed."""
        income = self._share * seconds / len(_MOST_SAVED_S)
        self._saved_s = [
            min(saved + income, most)
            for saved, most in zip(self._saved_s, _MOST_SAVED_S, strict=True)
        ]
        self._age_s += seconds

    def saw(self, verified: Verified) -> None:
        """These drafts were verified."""
        longest = max(verified.drafts, default=0)
        self._age_s[:longest] = 0.0

    def probe(
        self,
        length: int,
        verify: np.ndarray,
        choices: Choices,
        tokens_s: Callable[[float, int], float],
        urgent: bool,
    ) -> int | None:
        """The length of a probe, for which ``verify`` is changed; None: none is made now.

        Args:
            length: in use.
            verify: drafts of each request, changed for those that are probed.
            choices: what the drafter costs.
            tokens_s: what so many more drafts than those of the plan cost.
            urgent: there is reason to look.
        """
        if self._share == 0 or length == self._max_draft:
            return None
        if length > 0 and self._age_s[length] < _FRESH_S:
            return None
        longer = min(length + _FURTHER, self._max_draft)
        count = min(_MOST_REQUESTS, -(-len(verify) // _SHARE_OF_REQUESTS))
        chosen = (self._next + np.arange(count)) % len(verify)
        drafts = int((longer - verify[chosen]).clip(min=0).sum())
        drafting_s = float(choices.seconds[longer] - choices.seconds[length])
        price = max(drafting_s, 0.0) + tokens_s(float(choices.drafts[length]), drafts)
        purse = int(urgent)
        # Where steps are long a probe costs more than is ever saved; it is paid off afterwards.
        if min(price, _MOST_SAVED_S[purse]) > self._saved_s[purse]:
            return None
        # What the probe gains is not subtracted: it is what is not known.
        self._saved_s[purse] -= price
        self._next = int(chosen[-1]) + 1
        verify[chosen] = longer
        return longer
