"""How much each policy leaves to the best: regret, by phases, with intervals.

The measure is the best fixed length of each phase on the same seed, no speculation included, which
nobody can know beforehand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crossdock.bench.record import Record, Series
from crossdock.bench.turbospec.contenders import fixed_name

Floats = npt.NDArray[np.float64]
ALL, STEADY, TRANSITION, MEDIAN, TAIL = "all", "steady", "transition", "p50", "p99"
"""Parts of a phase of which a series has the seconds per token; of the last two, by requests."""
VIRTUAL, PROCESSOR = "virtual", "cpu"
"""The clocks."""
TRANSITION_PART = 0.2
"""Of a phase."""
_DRAWS = 2000
_CONFIDENCE = 0.95
_OFF = fixed_name(0)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A policy in a scenario. Parts of 1, lower is better; below 0 it beats every fixed length."""

    clock: str
    scenario: str
    contender: str
    regret: float
    """The mean over phases and seeds."""
    low: float
    high: float
    """Ends of an interval of 95% for it, by drawing seeds and phases anew."""
    worst: float
    """Regret of its worst phase, the mean over seeds."""
    steady: float
    transition: float
    loss: float
    """What it loses to no speculation in the phase where it loses most; below 0 it never does."""
    median_s: float
    """Seconds per token of the median request, the mean over phases and seeds."""
    tail_s: float
    """Of the 99th of 100 requests."""
    wrong: int


def verdicts(record: Record) -> list[Verdict]:
    """Of all clocks, scenarios and contenders of a record, in its order."""
    places = dict.fromkeys((str(s.point["clock"]), str(s.point["scenario"])) for s in record.series)
    return [
        verdict
        for clock, scenario in places
        for verdict in _verdicts(
            clock,
            scenario,
            [
                s
                for s in record.series
                if (s.point["clock"], s.point["scenario"]) == (clock, scenario)
            ],
        )
    ]


def best_single(found: Sequence[Verdict]) -> Verdict:
    """The fixed length with the least regret, in hindsight, of the verdicts of one scenario."""
    return min((v for v in found if v.contender.startswith("k=")), key=lambda v: v.regret)


def _verdicts(clock: str, scenario: str, series: Sequence[Series]) -> list[Verdict]:
    names = list(dict.fromkeys(s.contender for s in series))
    table = {name: _Rates([s for s in series if s.contender == name]) for name in names}
    fixed = [rates for name, rates in table.items() if name.startswith("k=")]
    best = {
        part: best_rates(np.array([rates.of[part] for rates in fixed]), clock == VIRTUAL)
        for part in (ALL, STEADY, TRANSITION)
    }
    found = []
    for name, rates in table.items():
        regrets = {part: 1 - rates.of[part] / best[part] for part in best}
        low, high = interval(regrets[ALL])
        found.append(
            Verdict(
                clock=clock,
                scenario=scenario,
                contender=name,
                regret=float(regrets[ALL].mean()),
                low=low,
                high=high,
                worst=float(regrets[ALL].mean(axis=1).max()),
                steady=float(regrets[STEADY].mean()),
                transition=float(regrets[TRANSITION].mean()),
                loss=float((1 - rates.of[ALL] / table[_OFF].of[ALL]).mean(axis=1).max()),
                median_s=float((1 / rates.of[MEDIAN]).mean()),
                tail_s=float((1 / rates.of[TAIL]).mean()),
                wrong=rates.wrong,
            )
        )
    return found


def best_rates(rates: Floats, exact: bool) -> Floats:
    """Of the rates of fixed lengths (length, phase, seed) those of the best (phase, seed).

    Where times scatter, the best of many is one that was lucky; then a phase has one best length
    for all seeds, that of the highest mean.
    """
    if exact:
        return np.asarray(rates.max(axis=0))
    best = rates.mean(axis=2).argmax(axis=0)
    return np.asarray(rates[best, np.arange(rates.shape[1])])


class _Rates:
    """Tokens per second of one contender in one scenario: of each part (phase, seed)."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.of: dict[str, Floats] = {}
        for part in (ALL, STEADY, TRANSITION, MEDIAN, TAIL):
            phases = sorted(
                (s for s in series if s.point["part"] == part), key=lambda s: int(s.point["phase"])
            )
            self.of[part] = 1 / np.array([[turn[0] for turn in s.rounds] for s in phases])
        self.wrong = sum(s.wrong or 0 for s in series)


def interval(regrets: Floats) -> tuple[float, float]:
    """Ends of the interval of 95% of the mean of values (phase, seed): both are drawn anew."""
    dice = np.random.default_rng(0)
    phases, seeds = regrets.shape
    rows = dice.integers(phases, size=(_DRAWS, phases, 1))
    columns = dice.integers(seeds, size=(_DRAWS, 1, seeds))
    means = regrets[rows, columns].mean(axis=(1, 2))
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)
