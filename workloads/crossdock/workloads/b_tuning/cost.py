"""What training costs, so that baselines can be given the same: operations of the networks.

Counted by torch on one sample, forwards and backwards: matrix products and convolutions, which are
nearly all of it. LogME's own arithmetic is not counted, nor is reading a cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from crossdock.workloads.b_tuning.backbone import Backbone


@dataclass(frozen=True)
class Cost:
    """Floating-point operations a sample."""

    forward: int
    training: int
    """Forward and backward, with a head."""


def cost_of(backbone: Backbone, example: torch.Tensor, classes: int) -> Cost:
    """Of a model on one raw input (1, ...)."""
    copied = backbone.copied(torch.device("cpu"))
    copied.module.eval()  # batch normalisation would refuse a single sample
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        width = copied(example).shape[1]
    with FlopCounterMode(display=False) as training:
        logits = torch.nn.Linear(width, classes)(copied(example))
        logits.sum().backward()
    return Cost(forward.get_total_flops(), training.get_total_flops())


def with_projections(cost: Cost, width: int, teacher_widths: Sequence[int]) -> Cost:
    """Of a student of D = `width` that also predicts the D_k features of each teacher."""
    return Cost(cost.forward, cost.training + 3 * 2 * width * sum(teacher_widths))


@dataclass(frozen=True, kw_only=True)
class Account:
    """What B-Tuning may spend, and how far a rival comes with as much."""

    student: Cost
    candidates: Sequence[Cost]
    """All that are ranked: each gives features of every sample once."""
    teachers: Sequence[Cost]
    """Each gives features of every view of every sample. The first view is counted again, though
    without augmentation it is what the ranking saw."""
    samples: int
    views: int
    epochs: int

    @property
    def ranking(self) -> int:
        """Operations until the models are ranked."""
        return self.samples * sum(cost.forward for cost in self.candidates)

    @property
    def teaching(self) -> int:
        """Operations until all targets are there."""
        return self.samples * self.views * sum(cost.forward for cost in self.teachers)

    @property
    def total(self) -> int:
        """Operations of B-Tuning."""
        return self.ranking + self.teaching + self.epochs * self.samples * self.student.training

    def rival(self, cost: Cost, *, before: int = 0) -> tuple[int, int]:
        """Epochs and operations of a student of that cost, which has spent some `before` training.

        The epochs are rounded up, in the rival's favour.
        """
        epoch = self.samples * cost.training
        epochs = max(1, math.ceil((self.total - before) / epoch))
        return epochs, before + epochs * epoch
