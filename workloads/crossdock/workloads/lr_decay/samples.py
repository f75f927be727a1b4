"""Samples with labels, as all parts of the study hand them on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.errors import ClassMissing


@dataclass(frozen=True, eq=False)
class Samples:
    """N inputs with their classes.

    Raises:
        ArgumentError: inputs and labels do not fit each other, or inputs are not finite.
        ClassMissing: a class has no samples.
    """

    inputs: Tensor
    """(N, ...), float32."""
    labels: Tensor
    """(N,), int64, 0 to classes - 1."""
    classes: int

    def __post_init__(self) -> None:
        if self.labels.shape != self.inputs.shape[:1]:
            raise ArgumentError(
                f"{len(self.inputs)} inputs have labels of shape {tuple(self.labels.shape)}; "
                "give one for each"
            )
        if not self.inputs.isfinite().all():
            raise ArgumentError("some inputs are not finite; leave those samples out")
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < (
            self.classes
        ):
            raise ArgumentError(
                f"labels go from {int(self.labels.min())} to {int(self.labels.max())}, but there "
                f"are {self.classes} classes"
            )
        counts = torch.bincount(self.labels, minlength=self.classes)
        missing = (counts == 0).nonzero().flatten().tolist()
        if missing:
            raise ClassMissing(
                f"{len(missing)} of {self.classes} classes have no samples, class {missing[0]} "
                "first; give each at least one"
            )

    def __len__(self) -> int:
        return len(self.labels)
