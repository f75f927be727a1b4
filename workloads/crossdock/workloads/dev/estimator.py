"""DEV as an estimator in scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import density
from crossdock.workloads.dev.density import DensityRatio
from crossdock.workloads.dev.discriminators import Discriminator, Floats, Logistic, Mlp
from crossdock.workloads.dev.risk import EFFECTIVE_MIN, DevRisk, DevSums, refused

DECAYS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
KINDS = ("logistic", "mlp")


class DEV(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Deep Embedded Validation: the risk on an unlabelled target (You et al., ICML 2019).

    >>> dev = DEV().fit(source_train_features, target_features)
    >>> dev.risk(source_validation_features, source_validation_losses).risk

    Features are those of the model that is judged. Lower risks are better. Different shards give
    ``dev.sums(features, losses)``; merged, these have the risk of all: ``sums.risk()``.

    Args:
        discriminator: "logistic", "mlp", or a ``Discriminator`` with settings of its own.
        decays: L2 penalties, of which the one with the best held-out accuracy is taken.
        folds: of the cross-validation that judges them; the models of all folds are averaged.
        seeds: each gives folds and discriminators of its own; their weights are averaged.
        device: where "mlp" trains, such as "cuda:0".
        clip: largest weight allowed; None leaves them as they are. Clipping makes the estimate
            steadier and no longer unbiased.
        effective_min: least effective sample size of a risk that is not refused.

    Attributes:
        decays_: the decay chosen by each seed; None where all its models had collapsed.
        accuracies_: held-out accuracy of those, shape (seeds,); 0.5 tells nothing apart if the
            domains are equally large.
        collapsed_: share of constant discriminators among all that were trained.
        n_features_in_: their number.
    """

    def __init__(
        self,
        discriminator: str | Discriminator = "logistic",
        *,
        decays: Sequence[float] = DECAYS,
        folds: int = 5,
        seeds: Sequence[int] = (0,),
        device: str = "cpu",
        clip: float | None = None,
        effective_min: float = EFFECTIVE_MIN,
    ) -> None:
        self.discriminator = discriminator
        self.decays = decays
        self.folds = folds
        self.seeds = seeds
        self.device = device
        self.clip = clip
        self.effective_min = effective_min

    def fit(self, source: ArrayLike, target: ArrayLike) -> Self:
        """Learn the density ratio.

        Args:
            source: features of source training samples, shape (N_source, d).
            target: features of target samples, shape (N_target, d).

        Raises:
            ArgumentError: a setting out of range, features of different dimensions, fewer samples
                than folds, or a value that is not finite.
        """
        self.check()
        source, target = matrix("source", source), matrix("target", target)
        expect_width("target", target, source.shape[1])
        least = min(len(source), len(target))
        if least < self.folds:
            raise ArgumentError(
                f"{len(source)} source and {len(target)} target samples are too few for "
                f"{self.folds} folds; give more samples, or fewer folds"
            )
        method = self._method()
        self.n_features_in_ = source.shape[1]
        self.ratios_: list[DensityRatio] = [
            density.fit(source, target, method, self.decays, self.folds, seed)
            for seed in self.seeds
        ]
        choices = [(ratio, ratio.choice) for ratio in self.ratios_]
        self.decays_ = [None if j is None else ratio.decays[j] for ratio, j in choices]
        self.accuracies_ = np.array(
            [np.nan if j is None else ratio.accuracies[j] for ratio, j in choices]
        )
        self.collapsed_ = float(np.mean([ratio.collapsed for ratio in self.ratios_]))
        return self

    def check(self) -> None:
        """ArgumentError for a setting out of range; `fit` calls it."""
        if isinstance(self.discriminator, str) and self.discriminator not in KINDS:
            raise ArgumentError(
                f"discriminator is {self.discriminator!r}; choose from {', '.join(KINDS)}"
            )
        if len(self.decays) == 0 or not min(self.decays) > 0:
            raise ArgumentError(f"decays are {self.decays}; give at least one, all above 0")
        if self.folds < 2:
            raise ArgumentError(f"folds are {self.folds}, but 2 are the least")
        if len(self.seeds) == 0:
            raise ArgumentError("seeds are empty; give at least one")
        if self.clip is not None and not self.clip > 0:
            raise ArgumentError(f"clip is {self.clip}; it must be above 0, or None")

    def weights(self, features: ArrayLike) -> Floats:
        """Density ratio target / source of features (n, d), shape (n,), mean over seeds.

        Raises:
            ArgumentError: features that do not fit those of `fit`, or are not finite.
            sklearn.exceptions.NotFittedError: before `fit`.
        """
        return np.asarray(np.mean(self._weights_by_seed(features), axis=0))

    def sums(self, features: ArrayLike, losses: ArrayLike) -> DevSums:
        """What a shard of source validation samples adds to the risk.

        Args:
            features: shape (n, d), of source samples that took no part in training.
            losses: of the same samples, shape (n,).

        Raises:
            ArgumentError, NotFittedError: as ``weights``, and for lengths that differ.
        """
        return DevSums.of(self.weights(features), losses)

    def risk(self, features: ArrayLike, losses: ArrayLike) -> DevRisk:
        """The risk on the target, or why it cannot be told; arguments and errors as ``sums``."""
        sums = self.sums(features, losses)
        if all(decay is None for decay in self.decays_):
            return refused(
                f"all {len(self.seeds) * self.folds * len(self.decays)} discriminators have "
                "collapsed to a constant",
                sums.n,
            )
        return sums.risk(self.effective_min)

    def risks(self, features: ArrayLike, losses: ArrayLike) -> list[DevRisk]:
        """The risk by the weights of each seed alone: how much the discriminator matters."""
        return [
            DevSums.of(weights, losses).risk(self.effective_min)
            for weights in self._weights_by_seed(features)
        ]

    def _weights_by_seed(self, features: ArrayLike) -> Floats:
        check_is_fitted(self, "ratios_")
        rows = matrix("features", features)
        expect_width("features", rows, self.n_features_in_)
        weights = np.stack([ratio.weights(rows) for ratio in self.ratios_])
        return weights if self.clip is None else np.minimum(weights, self.clip)

    def _method(self) -> Discriminator:
        if not isinstance(self.discriminator, str):
            return self.discriminator
        return Mlp(self.device) if self.discriminator == "mlp" else Logistic()


def matrix(name: str, values: ArrayLike) -> Floats:
    """Finite float64 features (n, d), n and d above 0; ArgumentError for anything else."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ArgumentError(f"{name} has shape {array.shape}; give features as (samples, d)")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ArgumentError(
            f"{name} has {len(bad)} of {len(array)} rows with a value that is not finite, the "
            f"first is {bad[0]}; the model that made them has diverged, or they are damaged"
        )
    return array


def expect_width(name: str, array: Any, width: int) -> None:
    """ArgumentError unless rows have so many features."""
    if array.shape[1] != width:
        raise ArgumentError(
            f"{name} has {array.shape[1]} features but the source has {width}; all must come from "
            "one model"
        )
