"""What the choices of a selector were worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau, t

from crossdock.bench.dev.trials import Trial

CHANCE = "any candidate"
"""What choosing at random is worth in the mean."""

_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A selector over the seeds of a task. Accuracies are of the target, from 0 to 1."""

    selector: str
    chosen: int
    """Seeds in which it chose at all; the figures are over these."""
    accuracy: float
    """Of its choice, mean."""
    regret: float
    """Accuracy lost to the best candidate, mean."""
    regret_half: float
    """Half of the interval of 95 % of that mean, over seeds."""
    worst: float
    """Most regret of any seed."""
    tau: float | None
    """Kendall's tau between score and accuracy over candidates that it judged, mean over seeds."""
    refused: int
    """Candidates of all seeds that it could not judge."""
    below_source: int
    """Seeds in which its choice is worse than that of the source risk with the same loss."""
    below_chance: int
    """Seeds in which its choice is worse than any candidate in the mean."""
    seconds: float
    """For all candidates of a seed, mean."""


def verdicts(trials: Sequence[Trial]) -> list[Verdict]:
    """Of all selectors on the trials of one task, then of chance."""
    names = list(trials[0].candidates[0].scores)
    return [*(_verdict(name, trials) for name in names), _chance(trials)]


def choice(trial: Trial, selector: str) -> float | None:
    """Target accuracy of the candidate that the selector likes best; None where it judges none."""
    scores = _scores(trial, selector)
    return None if np.isnan(scores).all() else float(_accuracies(trial)[np.nanargmin(scores)])


def tau(trial: Trial, selector: str) -> float:
    """Kendall's tau of accuracy and score turned round; NaN where there is none."""
    scores = _scores(trial, selector)
    judged = ~np.isnan(scores)
    if judged.sum() < 2:
        return float("nan")
    return float(kendalltau(-scores[judged], _accuracies(trial)[judged]).statistic)


def _verdict(name: str, trials: Sequence[Trial]) -> Verdict:
    got = [choice(trial, name) for trial in trials]
    rival = [choice(trial, _source(name)) for trial in trials]
    taus = np.array([tau(trial, name) for trial in trials])
    return Verdict(
        selector=name,
        **_worth(trials, got),
        tau=None if np.isnan(taus).all() else float(np.nanmean(taus)),
        refused=sum(int(np.isnan(_scores(trial, name)).sum()) for trial in trials),
        below_source=_below(got, rival),
        seconds=float(np.mean([trial.seconds[name] for trial in trials])),
    )


def _chance(trials: Sequence[Trial]) -> Verdict:
    got: list[float | None] = [float(_accuracies(trial).mean()) for trial in trials]
    rival = [choice(trial, _source(CHANCE)) for trial in trials]
    return Verdict(
        selector=CHANCE,
        **_worth(trials, got),
        tau=None,
        refused=0,
        below_source=_below(got, rival),
        seconds=0.0,
    )


def _worth(trials: Sequence[Trial], got: Sequence[float | None]) -> dict[str, Any]:
    """What choices of some accuracy, or none, are worth."""
    made = [(trial, one) for trial, one in zip(trials, got, strict=True) if one is not None]
    regrets = np.array([_accuracies(trial).max() - accuracy for trial, accuracy in made])
    n = len(made)
    spread = t.ppf(0.975, n - 1) * regrets.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return {
        "chosen": n,
        "accuracy": float(np.mean([accuracy for _, accuracy in made])) if n else np.nan,
        "regret": float(regrets.mean()) if n else np.nan,
        "regret_half": float(spread),
        "worst": float(regrets.max()) if n else np.nan,
        "below_chance": sum(
            accuracy < float(_accuracies(trial).mean()) - _ROUNDING for trial, accuracy in made
        ),
    }


def _below(got: Sequence[float | None], rival: Sequence[float | None]) -> int:
    """How often the first choice is worse, of those that both made."""
    return sum(
        mine < theirs
        for mine, theirs in zip(got, rival, strict=True)
        if mine is not None and theirs is not None
    )


def _source(name: str) -> str:
    """The source risk with the loss that a selector has, or else the cross-entropy."""
    return f"source risk, {'0-1' if name.endswith('0-1') else 'CE'}"


def _scores(trial: Trial, selector: str) -> np.ndarray:
    scores = [candidate.scores[selector] for candidate in trial.candidates]
    return np.array([np.nan if score is None else score for score in scores])


def _accuracies(trial: Trial) -> np.ndarray:
    return np.array([candidate.accuracy for candidate in trial.candidates])
