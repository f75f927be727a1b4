"""No adaptation: what all others must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from crossdock.workloads.partial_da.methods.base import Batch, Method, Objective, classified


@dataclass(frozen=True, kw_only=True)
class SourceOnly(Method):
    """Cross-entropy of the source."""

    name: ClassVar[str] = "source-only"

    def objective(self, width: int, classes: int) -> Objective:  # noqa: ARG002
        """See ``Method``."""
        return _Objective()


class _Objective(Objective):
    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"classification": classified(batch)}
