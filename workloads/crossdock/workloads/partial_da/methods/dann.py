"""DANN: a domain adversary that knows of no outlier classes.

Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17 (2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from crossdock.workloads.partial_da import losses
from crossdock.workloads.partial_da.methods.base import Adversarial, Batch, Objective, classified
from crossdock.workloads.partial_da.networks import Discriminator


@dataclass(frozen=True, kw_only=True)
class DANN(Adversarial):
    """Features in which no discriminator can tell source from target."""

    name: ClassVar[str] = "dann"

    def objective(self, width: int, classes: int) -> Objective:  # noqa: ARG002
        """See ``Method``."""
        return _Objective(self, width)


class _Objective(Objective):
    def __init__(self, method: DANN, width: int) -> None:
        super().__init__()
        self._method = method
        self.domain = Discriminator(width, method.hidden, 1)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        source, target = self._method.reversed(batch)
        logits = self.domain(source).squeeze(1), self.domain(target).squeeze(1)
        return {"classification": classified(batch), "adversary": losses.domain(*logits)}
