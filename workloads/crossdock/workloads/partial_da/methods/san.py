"""SAN: an adversary for each source class, and little weight for those that the target lacks.

Cao, Long, Wang and Jordan, "Partial Transfer Learning with Selective Adversarial Networks",
CVPR 2018. Instance and class weights stand at the adversarial losses, as in the paper; its
released code multiplies the features by the predictions instead. gamma is divided by its largest,
so that the strength does not depend on the number of classes.
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
from crossdock.workloads.partial_da.networks import ClasswiseDiscriminators


@dataclass(frozen=True, kw_only=True)
class SAN(Adversarial):
    """Selective adversarial network."""

    name: ClassVar[str] = "san"
    uses_class_weights: ClassVar[bool] = True
    entropy: float = 0.1
    """Strength of the target's entropy."""

    def objective(self, width: int, classes: int) -> Objective:
        """See ``Method``."""
        return _Objective(self, width, classes)


class _Objective(Objective):
    def __init__(self, method: SAN, width: int, classes: int) -> None:
        super().__init__()
        self._method = method
        self.domains = ClasswiseDiscriminators(width, method.hidden, classes)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        source, target = self._method.reversed(batch)
        adversary = losses.classwise_domain(
            self.domains(source),
            self.domains(target),
            batch.source.chances(),
            batch.target.chances(),
            batch.class_weights,
        )
        return {
            "classification": classified(batch),
            "adversary": adversary,
            "entropy": self._method.entropy * losses.entropy(batch.target.logits),
        }

    def source_weights(
        self,
        source: Outputs,
        labels: torch.Tensor,  # noqa: ARG002
        class_weights: torch.Tensor,
    ) -> torch.Tensor:
        """What all adversaries together give an example."""
        return source.chances() @ class_weights
