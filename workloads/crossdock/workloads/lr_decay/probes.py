"""What a network has learnt: accuracy, what it knows of a block, and the wrong labels it took."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.noise import Mislabelled
from crossdock.workloads.lr_decay.samples import Samples

Logits = Callable[[Tensor], Tensor]
"""Inputs (B, ...) to logits (M, B, classes) of M networks."""


def blanked(samples: Samples, block: slice) -> Samples:
    """With zeros, the mean of all patterns, in the place of a block of each input (N, width).

    Raises:
        ArgumentError: the block is empty.
    """
    inputs = samples.inputs.clone()
    if not inputs[:, block].numel():
        raise ArgumentError(f"block {block.start} to {block.stop} of the inputs is empty")
    inputs[:, block] = 0
    return Samples(inputs, samples.labels, samples.classes)


def accuracy(logits: Logits, samples: Samples) -> Tensor:
    """Part of samples whose class is told, (M,)."""
    return _agreement(logits, samples.inputs, samples.labels)


def noise_fit(logits: Logits, given: Mislabelled) -> Tensor:
    """Part of the wrong labels that networks repeat, (M,); NaN where none is wrong."""
    rows = given.wrong
    return _agreement(logits, given.samples.inputs[rows], given.samples.labels[rows])


def _agreement(logits: Logits, inputs: Tensor, labels: Tensor) -> Tensor:
    told = logits(inputs)
    right = (told.argmax(-1) == labels).float().mean(-1)
    # What is not finite has no class, whatever argmax says.
    return torch.where(told.isfinite().all(-1).all(-1), right, torch.nan)
