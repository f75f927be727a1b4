"""Augmented inputs, each a pure function of the sample and an augmentation seed.

What a teacher says about a view can then be computed once, anywhere, and be used whenever the
student meets that view again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner.seeds import Use, derived

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""One sample (...) and a generator, from which all chance must come, to one sample."""


@dataclass(frozen=True, eq=False)
class Views:
    """All that a student meets: `count` views of each of N samples."""

    inputs: torch.Tensor
    """Raw inputs (N, ...), on the CPU."""
    augment: Augment | None = None
    """None: every view is the sample itself."""
    count: int = 1
    """Augmentation seeds; epoch e sees view e modulo this."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ArgumentError(f"views is {self.count}, but 1 is the least")
        if self.augment is None and self.count > 1:
            raise ArgumentError(
                f"views is {self.count}, but without `augment` all would be alike; leave it at 1"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def of(self, samples: torch.Tensor, view: int) -> torch.Tensor:
        """Inputs (B, ...) of samples, given by their places (B,), in a view."""
        chosen = self.inputs[samples]
        if self.augment is None:
            return chosen
        places = samples.tolist()
        return torch.stack(
            [
                self.augment(sample, self._generator(place, view))
                for place, sample in zip(places, chosen, strict=True)
            ]
        )

    def _generator(self, sample: int, view: int) -> torch.Generator:
        return torch.Generator().manual_seed(derived(self.seed, Use.VIEW, view, sample))

    def chunks(self, size: int) -> Iterator[tuple[int, int, int]]:
        """All of it as (view, first sample, end), at most `size` samples each.

        The same chunks whoever computes them: the sums of a matrix product depend on its shape.
        """
        for view in range(self.count):
            for first in range(0, len(self), size):
                yield view, first, min(first + size, len(self))
