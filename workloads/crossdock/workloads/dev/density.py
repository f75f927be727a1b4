"""The density ratio target / source of features, from discriminators that are told apart by folds.

w(x) = p(target | x) / p(source | x) * N_source / N_target; You et al. (ICML 2019), after Bickel,
Brückner, Scheffer (2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit, logsumexp
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from crossdock.workloads.dev.discriminators import Discriminator, Fitted, Floats

COLLAPSED = 1e-4
"""Log-odds that spread less than this over all the data are a constant: the model has collapsed."""


@dataclass(frozen=True)
class DensityRatio:
    """The discriminators of one seed: of each fold the one with the decay that was chosen."""

    scaler: StandardScaler
    fitted: Fitted
    decays: tuple[float, ...]
    accuracies: Floats
    """On what each fold held out, mean over folds, shape (decays,); NaN where all collapsed."""
    collapsed: np.ndarray
    """Which models are constant, shape (folds, decays)."""
    log_ratio: float
    """Logarithm of N_source / N_target."""

    @property
    def choice(self) -> int | None:
        """Which decay is best on held-out data, the larger in a tie; None if all collapsed."""
        if self.collapsed.all():
            return None
        return int(np.nanargmax(self.accuracies))

    def weights(self, features: Floats) -> Floats:
        """w(x) of features (n, d), shape (n,); folds that did not collapse are averaged.

        All are one constant where all have collapsed.
        """
        odds = self.fitted.log_odds(self.scaler.transform(features))
        j = self.choice
        if j is None:
            return np.full(len(features), np.exp(odds.mean() + self.log_ratio))
        return ratio_of(odds[~self.collapsed[:, j], j], self.log_ratio)


def ratio_of(log_odds: Floats, log_ratio: float) -> Floats:
    """Odds of the mean probability, times exp(log_ratio); log-odds have shape (models, n)."""
    target = logsumexp(log_expit(log_odds), axis=0)
    source = logsumexp(log_expit(-log_odds), axis=0)
    with np.errstate(over="ignore"):  # an infinite weight is refused later, by name
        return np.asarray(np.exp(target - source + log_ratio))


def fit(
    source: Floats,
    target: Floats,
    discriminator: Discriminator,
    decays: Sequence[float],
    folds: int,
    seed: int,
) -> DensityRatio:
    """Train discriminators on all folds but one in turn, and judge each on that one.

    Args:
        source, target: features, shapes (N_source, d) and (N_target, d), finite.
        decays: to choose from.
        folds: at least 2, and no more than samples of either domain.
        seed: of the folds and of the discriminators.
    """
    ordered = tuple(sorted(decays, reverse=True))
    scaler = StandardScaler().fit(np.concatenate([source, target]))
    features = scaler.transform(np.concatenate([source, target]))
    is_target = np.repeat([0.0, 1.0], [len(source), len(target)])
    splits = list(
        StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, is_target)
    )
    fitted = discriminator.fit(features, is_target, [kept for kept, _ in splits], ordered, seed)
    odds = fitted.log_odds(features)
    collapsed = np.ptp(odds, axis=2) < COLLAPSED
    by_fold = np.array(
        [_accuracies(odds[i][:, held], is_target[held]) for i, (_, held) in enumerate(splits)]
    )
    alive = (~collapsed).sum(axis=0)
    total = np.where(collapsed, 0.0, by_fold).sum(axis=0)
    return DensityRatio(
        scaler=scaler,
        fitted=fitted,
        decays=ordered,
        accuracies=np.where(alive > 0, total / np.maximum(alive, 1), np.nan),
        collapsed=collapsed,
        log_ratio=float(np.log(len(source) / len(target))),
    )


def _accuracies(log_odds: Floats, is_target: Floats) -> Floats:
    """Part of the samples that each decay's model gets right: (decays, n) to (decays,)."""
    return np.asarray(((log_odds > 0) == (is_target > 0.5)).mean(axis=1))
