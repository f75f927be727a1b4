"""IWAN: source examples that look unlike the target count less in the adversary.

Zhang, Ding, Li and Ogunbona, "Importance Weighted Adversarial Nets for Partial Domain Adaptation",
CVPR 2018. Ours shares one feature extractor between the domains.
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
class IWAN(Adversarial):
    """Weights of examples: what a discriminator that is no adversary thinks of them."""

    name: ClassVar[str] = "iwan"
    entropy: float = 0.1
    """Strength of the target's entropy."""

    def objective(self, width: int, classes: int) -> Objective:  # noqa: ARG002
        """See ``Method``."""
        return _Objective(self, width)


class _Objective(Objective):
    def __init__(self, method: IWAN, width: int) -> None:
        super().__init__()
        self._method = method
        self.weigher = Discriminator(width, method.hidden, 1)
        self.domain = Discriminator(width, method.hidden, 1)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        seen = self.weigher(batch.source.features.detach()).squeeze(1)
        unseen = self.weigher(batch.target.features.detach()).squeeze(1)
        source, target = self._method.reversed(batch)
        near, far = self.domain(source).squeeze(1), self.domain(target).squeeze(1)
        weights = torch.sigmoid(-seen.detach())
        return {
            "classification": classified(batch),
            "weigher": losses.domain(seen, unseen),
            "adversary": losses.domain(near, far, weights),
            "entropy": self._method.entropy * losses.entropy(batch.target.logits),
        }

    def source_weights(
        self,
        source: Outputs,
        labels: torch.Tensor,  # noqa: ARG002
        class_weights: torch.Tensor,  # noqa: ARG002
    ) -> torch.Tensor:
        return torch.sigmoid(-self.weigher(source.features).squeeze(1))
