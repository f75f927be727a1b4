"""What a run leaves behind: its steps and its requests, in columns."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STEP_COLUMNS = ("start", "seconds", "generated", "requests", "tokens", "drafted", "verified")
"""Virtual time, its true length, tokens that requests got, decoding requests, tokens through the
target, length of the drafts proposed at its end, drafts verified."""

REQUEST_COLUMNS = ("arrival", "first", "end", "tokens", "whole")
"""Virtual times of arrival, first token and end (of the run if cut), tokens got, 1 if finished."""


@dataclasses.dataclass(frozen=True)
class Log:
    """Of one run."""

    steps: Floats
    """[steps, len(STEP_COLUMNS)]"""
    requests: Floats
    """[requests that have ended, len(REQUEST_COLUMNS)]"""
    ends: Floats
    """[phases]; virtual times."""
    preemptions: int

    def step(self, column: str) -> Floats:
        """A column of the steps."""
        return self.steps[:, STEP_COLUMNS.index(column)]

    def request(self, column: str) -> Floats:
        """A column of the requests."""
        return self.requests[:, REQUEST_COLUMNS.index(column)]


def log_of(
    steps: list[tuple[float, ...]],
    requests: list[tuple[float, ...]],
    ends: list[float],
    preemptions: int,
) -> Log:
    """From rows; there may be none."""
    return Log(
        np.asarray(steps, dtype=np.float64).reshape(-1, len(STEP_COLUMNS)),
        np.asarray(requests, dtype=np.float64).reshape(-1, len(REQUEST_COLUMNS)),
        np.asarray(ends, dtype=np.float64),
        preemptions,
    )
