"""What LogME says of each model on the data that a student is to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone, features_of
from crossdock.workloads.b_tuning.targets import CHUNK
from crossdock.workloads.logme import LogME


@dataclass(frozen=True)
class Evidence:
    """The score of a model, and its linear head on what it gives as features."""

    score: float
    """LogME: log of the maximum evidence a sample."""
    means: npt.NDArray[np.float64]
    """Posterior means (C, D)."""


def features_of_all(
    backbone: Backbone, inputs: torch.Tensor, device: torch.device
) -> npt.NDArray[np.float64]:
    """Features (N, D) of raw inputs (N, ...), in float64."""
    frozen = backbone.frozen(device)
    parts = [
        features_of(frozen, part.to(device)).double().cpu() for part in torch.split(inputs, CHUNK)
    ]
    return torch.cat(parts).numpy()


def evidence_of(
    backbone: Backbone, inputs: torch.Tensor, labels: npt.NDArray[np.int64], device: torch.device
) -> Evidence:
    """By LogME, from raw inputs (N, ...) and numbers of classes (N,)."""
    fitted = LogME().fit(features_of_all(backbone, inputs, device), labels)
    return Evidence(float(fitted.score_), np.asarray(fitted.posterior_means_, np.float64))


def best(
    backbones: Sequence[Backbone], evidence: Mapping[str, Evidence], top: int
) -> list[Backbone]:
    """The `top` models of the highest scores, best first; of equals the one that stands first."""
    if not 1 <= top <= len(backbones):
        raise ArgumentError(f"top is {top}, but must be between 1 and {len(backbones)} teachers")
    return sorted(backbones, key=lambda backbone: -evidence[backbone.name].score)[:top]
