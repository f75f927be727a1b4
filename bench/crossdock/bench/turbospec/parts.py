"""From the steps of a phase to the seconds per token of its parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import Series
from crossdock.bench.turbospec import judge
from crossdock.bench.turbospec.stage import Ran


class Notebook:
    """Collects what was run, until it is series.

    The samples of a phase lie in rounds, one for each seed.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int, str, str], Series] = {}

    def add(self, clock: str, scenario: str, phase: int, contender: str, ran: Ran) -> None:
        """Note a phase of a seed."""
        for part, seconds in parts(ran).items():
            key = (clock, scenario, phase, contender, part)
            whole = part == judge.ALL
            known = self._series.get(key)
            wrong = ran.wrong + (known.wrong or 0 if known else 0)
            self._series[key] = Series(
                contender=contender,
                point={"clock": clock, "scenario": scenario, "phase": phase, "part": part},
                rounds=[*(known.rounds if known else ()), [seconds]],
                count=ran.tokens + (known.count if known else 0),
                wrong=wrong if whole else None,
            )

    def series(self) -> list[Series]:
        """Everything so far."""
        return list(self._series.values())


def parts(ran: Ran) -> dict[str, float]:
    """Seconds per token of the whole phase and its parts, and of requests.

    Raises:
        BenchFailed: the phase was too short to have all of them.
    """
    ends, seconds, tokens = (np.array([step[i] for step in ran.steps]) for i in range(3))
    if len(ends) < 2 or not ran.times_per_token:
        raise BenchFailed(f"a phase had {len(ends)} steps, too few to judge; make phases longer")
    start = ends[0] - seconds[0]
    early = ends <= start + judge.TRANSITION_PART * (ends[-1] - start)
    early[0], early[-1] = True, False
    tails = quantiles(ran.times_per_token)
    return {
        judge.ALL: _per_token(seconds, tokens),
        judge.TRANSITION: _per_token(seconds[early], tokens[early]),
        judge.STEADY: _per_token(seconds[~early], tokens[~early]),
        judge.MEDIAN: tails[0],
        judge.TAIL: tails[1],
    }


def quantiles(times: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th of 100."""
    median, tail = np.quantile(times, (0.5, 0.99))
    return float(median), float(tail)


def _per_token(seconds: np.ndarray, tokens: np.ndarray) -> float:
    return float(seconds.sum() / max(tokens.sum(), 1))
