"""The DEV estimate of a target risk from weighted source losses, out of sums that merge.

You, Wang, Long, Jordan: Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation,
ICML 2019. A weight ``w`` has mean 1 over the source, which makes ``w - 1`` a control
variate of the weighted loss ``L = w l``: risk = mean(L) + eta (mean(w) - 1) with
eta = -Cov(L, w) / Var(w). That is the line of least squares of ``L`` on ``w``, read at ``w = 1``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from crossdock.proxy.errors import ArgumentError

EFFECTIVE_MIN = 10.0
"""Effective samples below which a risk says more of a few samples than of the target."""
CONSTANT = 1e-6
"""Weights whose deviation is less than this part of their mean are rounding about a constant."""
SAMPLES_MIN = 3
"""Two samples lie on a line whatever they are."""
OUTSIDE = 3.0
"""Deviations that the mean weight may be off from 1; beyond, the line is read where no data is."""
LARGEST = 1e140
"""Beyond it squares and their sums overflow."""


@dataclass(frozen=True, kw_only=True)
class DevRisk:
    """What DEV says of one model; lower is better. Figures are NaN where `status` is refused.

    `importance_weighted` is the plain mean of ``w l``, for comparison. `standard_error` is that of
    least squares, given the weights: it does not know how wrong these are.
    """

    risk: float
    standard_error: float
    effective_size: float
    """``(sum w)^2 / sum w^2``."""
    eta: float
    importance_weighted: float
    mean_weight: float
    """Near 1 where the weights are right."""
    n: int
    status: Literal["ok", "refused"]
    reason: str = ""
    """Why it was refused."""


@dataclass(frozen=True, kw_only=True)
class DevSums:
    """Means and centred second moments of ``w`` and ``L = w l``, of any number of shards.

    They stand for the sums of w, w^2, w l, w^2 l and w^2 l^2, which would cancel where weights are
    nearly constant; Chan, Golub, LeVeque (1979) say how such moments merge.
    """

    n: int = 0
    mean_w: float = 0.0
    mean_l: float = 0.0
    """Of ``L``."""
    m_ww: float = 0.0
    """Sum of ``(w - mean_w)^2``; the next ones likewise."""
    m_wl: float = 0.0
    m_ll: float = 0.0
    not_finite: int = 0
    """Samples with a NaN, or a value beyond `LARGEST`; one refuses the risk."""
    negative: int = 0
    """Samples with a negative weight; one refuses the risk."""

    @classmethod
    def of(cls, weights: ArrayLike, losses: ArrayLike) -> DevSums:
        """The sums of a shard.

        Args:
            weights: density ratios target / source, shape (n,).
            losses: of the same source samples, shape (n,); any loss.

        Raises:
            ArgumentError: not two vectors of one length.
        """
        w, loss = _vector("weights", weights), _vector("losses", losses)
        if len(w) != len(loss):
            raise ArgumentError(
                f"{len(w)} weights but {len(loss)} losses; each sample has one of each"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            weighted = w * loss
        finite = (np.abs(w) < LARGEST) & (np.abs(weighted) < LARGEST)  # false for a NaN
        bad = {"not_finite": int((~finite).sum()), "negative": int((w < 0).sum())}
        if len(w) == 0 or any(bad.values()):
            return cls(n=len(w), **bad)
        mean_w, mean_l = float(w.mean()), float(weighted.mean())
        off_w, off_l = w - mean_w, weighted - mean_l
        return cls(
            n=len(w),
            mean_w=mean_w,
            mean_l=mean_l,
            m_ww=float(off_w @ off_w),
            m_wl=float(off_w @ off_l),
            m_ll=float(off_l @ off_l),
        )

    def merge(self, other: DevSums) -> DevSums:
        """The sums of both shards together; the order does not matter beyond rounding."""
        n = self.n + other.n
        if n == 0:
            return self
        d_w, d_l = other.mean_w - self.mean_w, other.mean_l - self.mean_l
        part = other.n / n
        cross = self.n * part
        return DevSums(
            n=n,
            mean_w=self.mean_w + part * d_w,
            mean_l=self.mean_l + part * d_l,
            m_ww=self.m_ww + other.m_ww + cross * d_w * d_w,
            m_wl=self.m_wl + other.m_wl + cross * d_w * d_l,
            m_ll=self.m_ll + other.m_ll + cross * d_l * d_l,
            not_finite=self.not_finite + other.not_finite,
            negative=self.negative + other.negative,
        )

    def risk(self, effective_min: float = EFFECTIVE_MIN) -> DevRisk:
        """What follows from the sums; see ``dev_risk``."""
        if bad := self._bad():
            return refused(bad, self.n)
        effective = self._effective_size()
        if reason := self._reason(effective, effective_min):
            return replace(
                refused(reason, self.n), effective_size=effective, mean_weight=self.mean_w
            )
        eta = -self.m_wl / self.m_ww
        aside = self.mean_w - 1
        left = max(self.m_ll + eta * self.m_wl, 0.0) / (self.n - 2)
        return DevRisk(
            risk=self.mean_l + eta * aside,
            standard_error=math.sqrt(left * (1 / self.n + aside * aside / self.m_ww)),
            effective_size=effective,
            eta=eta,
            importance_weighted=self.mean_l,
            mean_weight=self.mean_w,
            n=self.n,
            status="ok",
        )

    def _effective_size(self) -> float:
        square = self.m_ww / self.n + self.mean_w**2 if self.n else 0.0
        return self.n * self.mean_w**2 / square if square > 0 else 0.0

    def _bad(self) -> str:
        """What is wrong with the samples; empty for nothing."""
        if self.not_finite:
            return (
                f"{self.not_finite} of {self.n} samples have a weight or loss that is not "
                f"finite, or beyond {LARGEST:g}"
            )
        if self.negative:
            return f"{self.negative} of {self.n} weights are negative; a density ratio is not"
        if self.n < SAMPLES_MIN:
            return f"{self.n} samples, but {SAMPLES_MIN} are the least"
        return ""

    def _reason(self, effective: float, effective_min: float) -> str:
        """Why good samples tell no risk; empty where they do."""
        deviation = math.sqrt(self.m_ww / self.n)
        if deviation <= CONSTANT * self.mean_w:
            return (
                f"constant weights (all {self.mean_w:.6g}): the discriminator cannot tell the "
                "domains apart, or has collapsed"
            )
        if effective < effective_min:
            return (
                f"effective sample size {effective:.3g} of {self.n} is below {effective_min:g}: "
                "a few samples carry all weight, the domains hardly overlap"
            )
        if abs(self.mean_w - 1) > OUTSIDE * deviation:
            return (
                f"mean weight {self.mean_w:.3g} is more than {OUTSIDE:g} deviations of "
                f"{deviation:.3g} off from 1: no density ratio, the domains hardly overlap"
            )
        return ""


def dev_risk(
    weights: ArrayLike, losses: ArrayLike, *, effective_min: float = EFFECTIVE_MIN
) -> DevRisk:
    """The risk on the target, by Deep Embedded Validation.

    Args:
        weights: density ratios target / source of held-out source samples, shape (n,).
        losses: of the same samples, shape (n,).
        effective_min: least effective sample size that is not refused, in samples.

    Values that allow no estimate (NaN, constant weights, too few effective samples) give a
    `DevRisk` that is refused, so that other models can still be ranked.

    Raises:
        ArgumentError: not two vectors of one length.
    """
    return DevSums.of(weights, losses).risk(effective_min)


def refused(reason: str, n: int = 0) -> DevRisk:
    """The risk of a model of which nothing can be told."""
    return DevRisk(
        risk=math.nan,
        standard_error=math.nan,
        effective_size=0.0,
        eta=math.nan,
        importance_weighted=math.nan,
        mean_weight=math.nan,
        n=n,
        status="refused",
        reason=reason,
    )


def _vector(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ArgumentError(f"{name} have shape {array.shape}; give one number a sample, (n,)")
    return array
