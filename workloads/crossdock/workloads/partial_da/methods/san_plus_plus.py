"""SAN++, a reconstruction from its abstract: the paper's text was out of reach.

Cao, You, Zhang, Wang and Long, "From Big to Small: Adaptive Learning to Partial-Set Domains",
TPAMI 2022. The abstract: transferable probabilities of each class and each instance are estimated
by the model in turn with its training, and up-weigh supervised training on the source,
self-training on the target, and adversarial adaptation, all at once. Ours in detail: the class
weight w_c is the mean prediction on the target, of the largest; the instance weight is what a
discriminator that is no adversary thinks of a source example, by its mean over the class; the
adversary is one discriminator with K outputs; pseudo-labels are the likeliest classes, weighed by
class and confidence.

Instance weights choose within a class only. Where the domains are far apart, they would else starve
whole classes of source examples; these would be predicted less, and the class weights would follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from crossdock.workloads.partial_da import collective, losses
from crossdock.workloads.partial_da.methods.base import (
    Adversarial,
    Batch,
    Objective,
    Outputs,
    classified,
)
from crossdock.workloads.partial_da.networks import Discriminator
from crossdock.workloads.partial_da.reversal import ramp


@dataclass(frozen=True, kw_only=True)
class SANPlusPlus(Adversarial):
    """Selection of classes and instances at two levels. A reconstruction."""

    name: ClassVar[str] = "san++"
    reconstruction: ClassVar[bool] = True
    uses_class_weights: ClassVar[bool] = True
    self_training: float = 0.5
    """Final strength of the pseudo-labels' cross-entropy."""

    def objective(self, width: int, classes: int) -> Objective:
        """See ``Method``."""
        return _Objective(self, width, classes)


class _Objective(Objective):
    def __init__(self, method: SANPlusPlus, width: int, classes: int) -> None:
        super().__init__()
        self._method = method
        self.weigher = Discriminator(width, method.hidden, 1)
        self.domain = Discriminator(width, method.hidden, classes)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        seen = self.weigher(batch.source.features.detach()).squeeze(1)
        unseen = self.weigher(batch.target.features.detach()).squeeze(1)
        gamma, chances = batch.class_weights, batch.target.chances()
        weights = self._weights(seen.detach(), batch.labels, gamma, collective.total)
        source, target = self._method.reversed(batch)
        near = self.domain(source)
        adversary = losses.conditional_domain(
            near,
            self.domain(target),
            torch.zeros_like(near).scatter(1, batch.labels[:, None], weights[:, None]),
            gamma * chances,
        )
        sure, guessed = chances.max(1)
        taught = losses.cross_entropy(batch.target.logits, guessed, gamma[guessed] * sure)
        return {
            "classification": classified(batch, weights),
            "weigher": losses.domain(seen, unseen),
            "adversary": adversary,
            "self-training": self._method.self_training * ramp(batch.progress) * taught,
        }

    def source_weights(
        self, source: Outputs, labels: torch.Tensor, class_weights: torch.Tensor
    ) -> torch.Tensor:
        seen = self.weigher(source.features).squeeze(1)
        return self._weights(seen, labels, class_weights, lambda sums: sums)

    @staticmethod
    def _weights(
        seen: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor, total: losses.Sum
    ) -> torch.Tensor:
        trust = torch.sigmoid(-seen)
        trusted = losses.within_classes(trust, labels, len(class_weights), total=total)
        return class_weights[labels] * trusted
