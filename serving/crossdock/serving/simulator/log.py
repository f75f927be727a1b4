"""What a run leaves behind: its steps and its requests, in columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from crossdock.serving.turbospec.step import Verified

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
    preemptions: int

    def step(self, column: str) -> Floats:
        """A column of the steps."""
        return self.steps[:, STEP_COLUMNS.index(column)]

    def request(self, column: str) -> Floats:
        """A column of the requests."""
        return self.requests[:, REQUEST_COLUMNS.index(column)]


def log_of(
    steps: list[tuple[float, ...]], requests: list[tuple[float, ...]], preemptions: int
) -> Log:
    """From rows; there may be none."""
    return Log(
        np.asarray(steps, dtype=np.float64).reshape(-1, len(STEP_COLUMNS)),
        np.asarray(requests, dtype=np.float64).reshape(-1, len(REQUEST_COLUMNS)),
        preemptions,
    )


class Outcomes(Sequence[Verified]):
    """Verified drafts, made into objects only when read: fixed policies do not look."""

    def __init__(self, rows: list[tuple[str, int, int]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Verified]:
        return (Verified(*row) for row in self._rows)

    @overload
    def __getitem__(self, place: int) -> Verified: ...
    @overload
    def __getitem__(self, place: slice) -> list[Verified]: ...
    def __getitem__(self, place: int | slice) -> Verified | list[Verified]:
        if isinstance(place, slice):
            return [Verified(*row) for row in self._rows[place]]
        return Verified(*self._rows[place])
