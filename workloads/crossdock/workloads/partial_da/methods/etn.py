"""ETN: source examples weigh as much as an auxiliary net finds them transferable.

Cao, You, Long, Wang and Yang, "Learning to Transfer Examples for Partial Domain Adaptation",
CVPR 2019.
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
class ETN(Adversarial):
    """Example transfer network: a label predictor with leaky softmax tells the domains apart.

    What its classes leave of the probability, 1 - G, is high for examples that look like the
    target's; trained to know classes, it knows that outliers are unlike any.
    """

    name: ClassVar[str] = "etn"
    entropy: float = 0.2
    """Strength of the target's entropy."""
    auxiliary_domain: float = 10.0
    """Strength of the auxiliary net's loss on domains."""
    auxiliary_label: float = 1.0
    """Strength of its loss on labels."""

    def objective(self, width: int, classes: int) -> Objective:
        """See ``Method``."""
        return _Objective(self, width, classes)


class _Objective(Objective):
    def __init__(self, method: ETN, width: int, classes: int) -> None:
        super().__init__()
        self._method = method
        self.auxiliary = Discriminator(width, method.hidden, classes)
        self.domain = Discriminator(width, method.hidden, 1)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        method = self._method
        known = self.auxiliary(batch.source.features.detach())
        seen = losses.leaky_domain_logit(known)
        unseen = losses.leaky_domain_logit(self.auxiliary(batch.target.features.detach()))
        weights = torch.sigmoid(-seen.detach())
        source, target = method.reversed(batch)
        near, far = self.domain(source).squeeze(1), self.domain(target).squeeze(1)
        return {
            "classification": classified(batch, weights),
            "adversary": losses.domain(near, far, weights),
            "entropy": method.entropy * losses.entropy(batch.target.logits),
            "auxiliary domain": method.auxiliary_domain * losses.domain(seen, unseen),
            "auxiliary label": method.auxiliary_label
            * losses.leaky_one_vs_rest(known, batch.labels),
        }

    def source_weights(
        self,
        source: Outputs,
        labels: torch.Tensor,  # noqa: ARG002
        class_weights: torch.Tensor,  # noqa: ARG002
    ) -> torch.Tensor:
        return torch.sigmoid(-losses.leaky_domain_logit(self.auxiliary(source.features)))
