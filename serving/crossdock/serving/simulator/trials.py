"""A scenario with a seed and some policies: what one worker does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from crossdock.serving.simulator.contenders import CONTENDERS
from crossdock.serving.simulator.families import scenario
from crossdock.serving.simulator.judge import Judge, Verdict
from crossdock.serving.simulator.workload import Workload

OFF = "no speculation"
SINGLE = "best single k"
"""The fixed length of the least mean regret, in hindsight over the whole scenario."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Verdicts of all policies on the same requests."""

    scenario: str
    family: str
    seed: int
    best: list[int]
    """Fixed lengths, by phase."""
    single: int
    verdicts: Mapping[str, Verdict]


def trial(number: int, seed: int, names: Sequence[str], generator: int = 0) -> Trial:
    """Run it.

    Args:
        number: of the scenario, see ``families``.
        seed: of its requests and its noise.
        names: of ``CONTENDERS``; no speculation and the best single length are always there.
        generator: seed of the scenarios.
    """
    chosen = scenario(number, generator)
    judge = Judge(Workload(chosen, seed))
    fixed = judge.fixed_verdicts()
    single = int(np.argmin([verdict.mean for verdict in fixed]))
    verdicts = {OFF: fixed[0], SINGLE: fixed[single]}
    for name in names:
        verdicts[name] = judge.verdict(CONTENDERS[name](judge, seed))
    return Trial(chosen.name, chosen.family, seed, judge.best, single, verdicts)
