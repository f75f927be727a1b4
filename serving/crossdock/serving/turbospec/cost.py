"""How long a step takes: a cost model whose parts a controller may scale."""

from __future__ import annotations

import bisect
import math

import msgspec
import numpy as np
import numpy.typing as npt

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec.step import Work

Floats = npt.NDArray[np.float64]
PARTS = ("engine", "target", "context", "draft")
"""What a step is made of: what every step costs and each request adds, the tokens that go through
the target model, the KV cache that is read, and the drafter."""
_FAR = 1 << 24  # tokens; beyond every batch


class CostModel(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a step, as a sum that grows with each of its features.

    TurboSpec fits planes in batch, batch*(k+1) and batch*context (section 4 of arXiv 2406.14066);
    here the term of tokens is a monotone line through knots, since a target model costs the same
    until its arithmetic outweighs the reading of weights, and padded batches cost steps.

    Raises:
        ArgumentError: a coefficient is negative or no number, or the line falls.
    """

    step_s: float
    """What every step costs."""
    request_s: float
    """What each decoding request adds."""
    context_s: float
    """What each token in the KV cache adds."""
    knots: tuple[float, ...]
    """Numbers of tokens, rising."""
    knots_s: tuple[float, ...]
    """What so many tokens add, not falling; beyond the last, the last slope goes on."""
    draft_s: float
    """What the first position adds that the drafter proposes. It may be nothing, since drafters
    that keep a KV cache run once a step though they propose nothing."""
    draft_token_s: float
    """What each further position adds."""
    draft_request_s: float
    """What each further position adds for each request."""
    draft_first_request_s: float = 0.0
    """What the first position adds for each request."""

    def __post_init__(self) -> None:
        names = ["step_s", "request_s", "context_s", "draft_s", "draft_token_s"]
        names += ["draft_request_s", "draft_first_request_s"]
        for name in names:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ArgumentError(f"{name} of a cost model is {value}, it must not be negative")
        if len(self.knots) != len(self.knots_s) or len(self.knots) < 2:
            raise ArgumentError(
                f"a cost model needs two knots or more and a time for each, "
                f"got {len(self.knots)} and {len(self.knots_s)}"
            )
        for name, values, least in (("knots", self.knots, 1e-9), ("knots_s", self.knots_s, 0.0)):
            steps = np.diff(np.asarray(values, float))
            if not (np.isfinite(values).all() and (steps >= least).all() and values[0] >= 0):
                raise ArgumentError(f"{name} of a cost model must rise from 0 or more: {values}")
        if self.step_s + self.knots_s[-1] <= 0:
            raise ArgumentError("a step of a cost model takes no time at all")

    def line(self) -> tuple[Floats, Floats]:
        """The knots and their times, with one more beyond every batch, for ``numpy.interp``."""
        slope = (self.knots_s[-1] - self.knots_s[-2]) / (self.knots[-1] - self.knots[-2])
        end = self.knots_s[-1] + slope * (_FAR - self.knots[-1])
        return np.array((*self.knots, _FAR), float), np.array((*self.knots_s, end), float)

    def parts(self, work: Work) -> tuple[float, float, float, float]:
        """Seconds of each of ``PARTS``."""
        draft = 0.0
        if work.draft_length > 0:
            first = self.draft_s + self.draft_first_request_s * work.requests
            each = self.draft_token_s + self.draft_request_s * work.requests
            draft = first + (work.draft_length - 1) * each
        engine = self.step_s + self.request_s * work.requests
        return engine, self._tokens_s(work.tokens), self.context_s * work.context, draft

    def seconds(self, work: Work) -> float:
        """The length of a step."""
        return sum(self.parts(work))

    def _tokens_s(self, tokens: int) -> float:
        # The same as numpy.interp over line(), which takes several times as long for one number.
        if tokens <= self.knots[0]:
            return self.knots_s[0]
        right = min(bisect.bisect_left(self.knots, tokens), len(self.knots) - 1)
        x0, x1 = self.knots[right - 1], self.knots[right]
        y0, y1 = self.knots_s[right - 1], self.knots_s[right]
        return y0 + (y1 - y0) * (tokens - x0) / (x1 - x0)


def rough(seconds: float, tokens: int) -> CostModel:
    """A first guess where nothing was profiled, in the proportions of a small batch on a GPU.

    A step takes a while whatever runs, 64 tokens add a fifth of that, and a drafted position costs
    a sixteenth. ``correction.py`` learns the rest.

    Args:
        seconds: length of a step.
        tokens: that went through the target model in it.
    """
    alone = seconds / (1 + tokens / 320)
    return CostModel(
        step_s=alone,
        request_s=0.0,
        context_s=alone * 1e-6,
        knots=(0.0, 64.0),
        knots_s=(0.0, alone / 5),
        draft_s=alone / 16,
        draft_token_s=alone / 16,
        draft_request_s=0.0,
    )
