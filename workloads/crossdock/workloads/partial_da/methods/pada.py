"""PADA: the classes that the target seems to lack count less, in the loss and in the adversary.

Cao, Ma, Long and Wang, "Partial Adversarial Domain Adaptation", ECCV 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from crossdock.workloads.partial_da import losses
from crossdock.workloads.partial_da.methods.base import (
    Adversarial,
    Batch,
    Objective,
    Outputs,
    classified,
)
from crossdock.workloads.partial_da.networks import Discriminator


@dataclass(frozen=True, kw_only=True)
class PADA(Adversarial):
    """Weights of classes: the mean prediction on the target, of the largest."""

    name: ClassVar[str] = "pada"
    uses_class_weights: ClassVar[bool] = True

    def objective(self, width: int, classes: int) -> Objective:  # noqa: ARG002
        """See ``Method``."""
        return _Objective(self, width)


class _Objective(Objective):
    def __init__(self, method: PADA, width: int) -> None:
        super().__init__()
        self._method = method
        self.domain = Discriminator(width, method.hidden, 1)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        weights = batch.class_weights[batch.labels]
        source, target = self._method.reversed(batch)
        near, far = self.domain(source).squeeze(1), self.domain(target).squeeze(1)
        return {
            "classification": classified(batch, weights),
            "adversary": losses.domain(near, far, weights),
        }

    def source_weights(
        self,
        source: Outputs,  # noqa: ARG002
        labels: torch.Tensor,
        class_weights: torch.Tensor,
    ) -> torch.Tensor:
        return class_weights[labels]
