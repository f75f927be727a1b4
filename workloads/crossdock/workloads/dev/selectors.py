"""The table of selectors: every score of a candidate, and whom each would choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sklearn.base import clone

from crossdock.workloads.dev import baselines
from crossdock.workloads.dev.candidate import Candidate
from crossdock.workloads.dev.discriminators import Floats
from crossdock.workloads.dev.estimator import DEV
from crossdock.workloads.dev.risk import DevRisk

UNFIT = math.nan
"""The score of a candidate that a selector cannot judge; it is never chosen."""


@dataclass(frozen=True)
class Evidence:
    """A candidate, and what DEV found out about it."""

    candidate: Candidate
    weights: Floats
    risk: DevRisk


@dataclass(frozen=True)
class Selector:
    """A score and which way it is better."""

    title: str
    sign: int
    """1 where lower is better, -1 where higher is."""
    score: Callable[[Evidence], float]


def _of_predictions(score: Callable[[Floats], float]) -> Callable[[Evidence], float]:
    def judge(evidence: Evidence) -> float:
        rows = evidence.candidate.target_probabilities
        return UNFIT if rows is None else score(rows)

    return judge


SELECTORS: Mapping[str, Selector] = {
    "dev": Selector("DEV", 1, lambda seen: seen.risk.risk),
    "iwcv": Selector(
        "IWCV",
        1,
        lambda seen: baselines.iwcv(seen.weights, seen.candidate.source_validation_losses),
    ),
    "source": Selector(
        "source risk",
        1,
        lambda seen: baselines.source_risk(seen.candidate.source_validation_losses),
    ),
    "entropy": Selector("entropy", 1, _of_predictions(baselines.entropy)),
    "infomax": Selector("InfoMax", -1, _of_predictions(baselines.infomax)),
    "snd": Selector("SND", -1, _of_predictions(baselines.snd)),
    "bnm": Selector("BNM", -1, _of_predictions(baselines.bnm)),
}


@dataclass(frozen=True)
class Judged:
    """All scores of a candidate."""

    risk: DevRisk
    scores: dict[str, float]
    """By name of the selector; NaN where it could not judge."""
    discriminator_accuracy: float
    """Held out; mean over seeds. NaN where all discriminators collapsed."""
    target_accuracy: float | None


def judge(candidate: Candidate, dev: DEV) -> Judged:
    """Score a candidate with every selector; `dev` gives the settings and is left as it is.

    Raises:
        ArgumentError: what ``DEV.fit`` refuses.
    """
    fitted = clone(dev).fit(candidate.source_train_features, candidate.target_features)
    features, losses = candidate.source_validation_features, candidate.source_validation_losses
    risk = fitted.risk(features, losses)
    evidence = Evidence(candidate, fitted.weights(features), risk)
    return Judged(
        risk=risk,
        scores={name: selector.score(evidence) for name, selector in SELECTORS.items()},
        discriminator_accuracy=float(fitted.accuracies_.mean()),
        target_accuracy=candidate.target_accuracy,
    )


def order(name: str, scores: Sequence[float]) -> list[int]:
    """Numbers of the candidates, best first by a selector; those it could not judge are left out.

    Equal ones stay in the order given.
    """
    sign = SELECTORS[name].sign
    fit = [i for i, score in enumerate(scores) if math.isfinite(score)]
    return sorted(fit, key=lambda i: sign * scores[i])
