"""A policy beside every fixed length, on the same requests.

The regret of a phase is the share of goodput (see ``figures.py``) that the policy leaves to the
fixed length that is best *in that phase*, no speculation among them: a rival that no fixed length
is, since it changes at each phase without having to notice. It is negative where a policy beats
them all, as it can where load changes within a phase. The whole phase counts, its transition too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from crossdock.serving.simulator.engine import run
from crossdock.serving.simulator.figures import (
    SLICES,
    TRANSITION,
    Latency,
    Phases,
    latency_of,
    phases_of,
)
from crossdock.serving.simulator.log import Floats, Log
from crossdock.serving.simulator.workload import Workload
from crossdock.serving.turbospec.fixed import Fixed, Table
from crossdock.serving.turbospec.step import Policy

NEAR = 0.03
"""A policy has converged when what is left of the phase is within this of the best length."""
_FIRST = round(TRANSITION * SLICES)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Of one policy; a list has an entry for each phase. Losses are shares of goodput."""

    regret: list[float]
    """Against the best fixed length of the phase."""
    steady: list[float]
    """The same without the transition."""
    transition: list[float]
    """The same in the transition alone."""
    pace: list[float]
    """As ``regret``, of pace against the length of best pace."""
    off: list[float]
    """Against no speculation; below 0 where it is better."""
    converged_s: list[float]
    """Seconds from which on it is near the best length; those of the phase if it never is."""
    length: list[float]
    """Mean length of its drafts."""
    goodput: float
    """Tokens per busy second over all phases."""
    latency: Latency
    preemptions: int

    @property
    def mean(self) -> float:
        """Of the regrets of all phases."""
        return float(np.mean(self.regret))

    @property
    def worst(self) -> float:
        """Of the regrets of all phases."""
        return max(self.regret)


class Judge:
    """Runs every fixed length once, then compares.

    Args:
        workload: scenario and seed.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.logs: list[Log] = [
            run(workload, Fixed(length)) for length in range(workload.scenario.draft_max + 1)
        ]
        self.fixed: list[Phases] = [phases_of(workload.scenario, log) for log in self.logs]
        goodput = np.stack([phases.goodput() for phases in self.fixed])
        self.best: list[int] = goodput.argmax(axis=0).tolist()
        """The length of the most goodput, for each phase."""

    def verdict(self, policy: Policy) -> Verdict:
        """Run a policy that is fresh, and judge it."""
        return self.judged(run(self.workload, policy))

    def judged(self, log: Log) -> Verdict:
        """What a run was worth."""
        phases = phases_of(self.workload.scenario, log)
        pace = np.stack([fixed.pace() for fixed in self.fixed]).max(axis=0)
        return Verdict(
            regret=self._against(phases, 0, SLICES),
            steady=self._against(phases, _FIRST, SLICES),
            transition=self._against(phases, 0, _FIRST),
            pace=_lost(phases.pace(), pace),
            off=_lost(phases.goodput(), self.fixed[0].goodput()),
            converged_s=self._converged(phases),
            length=phases.length().tolist(),
            goodput=float(phases.tokens.sum() / max(phases.busy.sum(), 1e-12)),
            latency=latency_of(log),
            preemptions=log.preemptions,
        )

    def fixed_verdicts(self) -> list[Verdict]:
        """Of every fixed length, from 0."""
        return [self.judged(log) for log in self.logs]

    def table(self) -> Table:
        """The best table from batch size to length, in hindsight over the whole scenario."""
        return Table(best_table(self.logs))

    def _against(self, phases: Phases, first: int, last: int) -> list[float]:
        rivals = np.stack([fixed.goodput(first, last) for fixed in self.fixed])
        return _lost(phases.goodput(first, last), rivals[self.best, np.arange(rivals.shape[1])])

    def _converged(self, phases: Phases) -> list[float]:
        found = []
        for place, phase in enumerate(self.workload.scenario.phases):
            mine = _tails(phases, place)
            best = _tails(self.fixed[self.best[place]], place)
            near = np.flatnonzero(mine >= (1 - NEAR) * best)
            share = near[0] / SLICES if len(near) else 1.0
            found.append(float(share * phase.seconds))
        return found


def best_table(logs: Sequence[Log]) -> Mapping[int, int]:
    """From runs of every fixed length: for batches from each power of two on, the best length.

    A power of two that was never seen takes the length of the one before it.
    """
    sizes = 1 + int(np.log2(max(1.0, *(log.step("requests").max(initial=1.0) for log in logs))))
    rates = np.zeros((len(logs), sizes))
    for length, log in enumerate(logs):
        decodes = log.step("requests") > 0
        size = np.log2(log.step("requests")[decodes]).astype(int)
        tokens = np.bincount(size, weights=log.step("generated")[decodes], minlength=sizes)
        seconds = np.bincount(size, weights=log.step("seconds")[decodes], minlength=sizes)
        rates[length] = np.divide(tokens, seconds, out=np.zeros(sizes), where=seconds > 0)
    table: dict[int, int] = {}
    for place in range(sizes):
        seen = bool(rates[:, place].any())
        before = table[1 << (place - 1)] if place else 0
        table[1 << place] = int(rates[:, place].argmax()) if seen else before
    return table


def _lost(mine: Floats, rival: Floats) -> list[float]:
    """The share of the rival's that is missing; 0 where the rival has nothing."""
    share = np.divide(mine, rival, out=np.ones(len(rival)), where=rival > 0)
    return [float(value) for value in 1 - share]


def _tails(phases: Phases, place: int) -> Floats:
    """[SLICES]; goodput from each slice to the end of the phase."""
    tokens = phases.tokens[place][::-1].cumsum()[::-1]
    busy = phases.busy[place][::-1].cumsum()[::-1]
    rates: Floats = np.divide(tokens, busy, out=np.zeros(SLICES), where=busy > 0)
    return rates
