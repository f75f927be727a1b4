"""AFN: no adversary; features of both domains are made to grow.

Xu, Li, Yang and Lin, "Larger Norm More Transferable", ICCV 2019, the stepwise variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from crossdock.workloads.partial_da import losses
from crossdock.workloads.partial_da.methods.base import Batch, Method, Objective, classified


@dataclass(frozen=True, kw_only=True)
class AFN(Method):
    """Each step asks for norms that are `step` larger than they are."""

    name: ClassVar[str] = "afn"
    norms: float = 0.05
    """Strength of the term."""
    step: float = 1.0
    """By how much norms are to grow."""

    def objective(self, width: int, classes: int) -> Objective:  # noqa: ARG002
        """See ``Method``."""
        return _Objective(self)


class _Objective(Objective):
    def __init__(self, method: AFN) -> None:
        super().__init__()
        self._method = method

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        near, far = batch.source.features, batch.target.features
        step = self._method.step
        grown = losses.norm_step(near, step) + losses.norm_step(far, step)
        return {"classification": classified(batch), "norms": self._method.norms * grown}
