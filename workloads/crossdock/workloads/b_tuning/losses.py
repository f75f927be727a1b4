"""The terms that teachers add to the loss of fine-tuning.

B-Tuning (You et al., JMLR 23, 2022, "Ranking and Tuning Pre-trained Models"): the student's
posterior-predictive mean f_s m_s' is drawn to that of the teachers, sum_k pi_k f_k m_k'. Both are
N x C, so models of any dimensions meet without a projection; m_s stays as LogME found it.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.targets import TargetCache

Reduction = Literal["fixed", "mean"]
PAPER_CLASSES = 100
"""Of FGVC Aircraft, on which the published lambda of 100 was set."""


def teacher_weights(scores: Sequence[float], temperature: float) -> npt.NDArray[np.float64]:
    """pi = softmax(score / temperature) over the teachers; infinite scores share all of it."""
    if not temperature > 0:
        raise ArgumentError(f"temperature is {temperature}, but must be above 0")
    values = np.asarray(scores, np.float64)
    if np.isnan(values).any() or (values == -np.inf).all():
        raise ArgumentError(f"the scores are {values.tolist()}; rank models that have a score")
    best = values.max()
    gaps = np.subtract(values, best, out=np.zeros_like(values), where=values != best)
    powers = np.exp(gaps / temperature)
    return np.asarray(powers / powers.sum())


def alignment(
    predicted: torch.Tensor, target: torch.Tensor, reduction: Reduction = "fixed"
) -> torch.Tensor:
    """Squared distance of posterior-predictive means (B, C), averaged over the samples.

    `mean` averages over the classes as well, as the paper's MSE does: one lambda then weighs C
    times less on C classes, since one-hot targets of a sample sum to 1 whatever C is. `fixed` sums
    over the classes and divides by ``PAPER_CLASSES``: lambda means the same for every C, and the
    same as in the paper for 100 classes.
    """
    squares = (predicted - target).square().sum(dim=1).mean()
    if reduction == "fixed":
        return squares / PAPER_CLASSES
    if reduction == "mean":
        return squares / predicted.shape[1]
    raise ArgumentError(f"reduction is {reduction!r}; choose fixed or mean")


class Penalty(nn.Module, abc.ABC):
    """What is added to the cross-entropy; its parameters, if any, are trained like the head."""

    @abc.abstractmethod
    def forward(self, features: torch.Tensor, samples: torch.Tensor, view: int) -> torch.Tensor:
        """A number, from the student's features (B, D) of samples (B,) in a view."""

    @abc.abstractmethod
    def settings(self) -> dict[str, str | float]:
        """What must be the same when training goes on from a checkpoint."""


class PosteriorAlignment(Penalty):
    """lambda * MSE(f_s m_s', sum_k pi_k f_k m_k')."""

    means: torch.Tensor

    def __init__(
        self,
        means: npt.NDArray[np.float64],
        targets: TargetCache,
        strength: float,
        reduction: Reduction,
    ) -> None:
        """Posterior means (C, D) of the student; targets of width C."""
        super().__init__()
        self.register_buffer("means", torch.from_numpy(means).float())
        self._targets, self._strength, self._reduction = targets, strength, reduction

    def forward(self, features: torch.Tensor, samples: torch.Tensor, view: int) -> torch.Tensor:
        """See ``Penalty``."""
        target = self._targets.get(view, samples).to(features.device)
        return self._strength * alignment(features @ self.means.T, target, self._reduction)

    def settings(self) -> dict[str, str | float]:
        """See ``Penalty``."""
        return {
            "kind": "posterior alignment",
            "strength": self._strength,
            "reduction": self._reduction,
            "targets": self._targets.checksum(),
        }


class FeatureAlignment(Penalty):
    """lambda * sum_k pi_k MSE(W_k f_s, f_k), with W_k learned: feature distillation.

    Targets hold the teachers' features side by side. Each teacher's are divided by their root mean
    square over all targets, so that lambda depends on no teacher's scale or dimension.
    """

    def __init__(
        self,
        width: int,
        teacher_widths: Sequence[int],
        weights: npt.NDArray[np.float64],
        targets: TargetCache,
        strength: float,
    ) -> None:
        """`width`: D of the student; `teacher_widths`: D_k."""
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, wide) for wide in teacher_widths)
        self._widths, self._weights = list(teacher_widths), weights.tolist()
        self._targets, self._strength = targets, strength
        parts = np.split(targets.values, np.cumsum(self._widths)[:-1], axis=2)
        sizes = [float(np.sqrt(np.square(part, dtype=np.float64).mean())) for part in parts]
        self._scales = [1 / size if size > 0 else 1.0 for size in sizes]

    def forward(self, features: torch.Tensor, samples: torch.Tensor, view: int) -> torch.Tensor:
        """See ``Penalty``."""
        target = self._targets.get(view, samples).to(features.device)
        total = features.new_zeros(())
        parts = torch.split(target, self._widths, dim=1)
        each = zip(self._weights, self._scales, self.projections, parts, strict=True)
        for weight, scale, projection, part in each:
            gap = nn.functional.mse_loss(projection(features), scale * part)
            total = total + weight * gap
        return self._strength * total

    def settings(self) -> dict[str, str | float]:
        """See ``Penalty``."""
        return {
            "kind": "feature alignment",
            "strength": self._strength,
            "targets": self._targets.checksum(),
        }
