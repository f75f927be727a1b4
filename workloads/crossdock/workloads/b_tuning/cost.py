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


def budget(
    student: Cost,
    candidates: Sequence[Cost],
    teachers: Sequence[Cost],
    samples: int,
    epochs: int,
    views: int,
) -> int:
    """Operations of B-Tuning: each candidate's features once, each teacher's on all views, the
    student's training. Features of a candidate without augmentation serve as its first view too,
    but they are computed, and counted, again."""
    once = sum(cost.forward for cost in candidates)
    taught = views * sum(cost.forward for cost in teachers)
    return samples * (once + taught + epochs * student.training)


def epochs_within(operations: int, cost: Cost, samples: int) -> int:
    """Epochs that so many operations pay for, rounded up: in favour of who is given them."""
    return max(1, math.ceil(operations / (samples * cost.training)))
