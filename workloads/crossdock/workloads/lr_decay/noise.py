"""Wrong labels for an exact part of the samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.samples import Samples


@dataclass(frozen=True, eq=False)
class Mislabelled:
    """Samples of which some have wrong labels."""

    samples: Samples
    wrong: Tensor
    """(W,), int64: the rows whose labels are wrong."""


def expect_rate(rate: float) -> None:
    """ArgumentError where a noise rate is none."""
    if not 0 <= rate < 1:
        raise ArgumentError(f"the noise rate is {rate}; give 0 to below 1")


def mislabelled(clean: Samples, rate: float, generator: torch.Generator) -> Mislabelled:
    """Give `rate` of the samples, rounded to a whole number, the label of another class.

    Each of the others is equally likely, so that exactly so many labels are wrong.

    Raises:
        ArgumentError: the rate is out of range, or there is no other class.
        ClassMissing: no sample is left that has the label of some class.
    """
    expect_rate(rate)
    if clean.classes < 2:
        raise ArgumentError("with one class no label can be wrong; give two classes or more")
    count = round(rate * len(clean))
    wrong = torch.randperm(len(clean), generator=generator)[:count]
    shift = torch.randint(1, clean.classes, (count,), generator=generator)
    labels = clean.labels.clone()
    labels[wrong] = (labels[wrong] + shift) % clean.classes
    return Mislabelled(Samples(clean.inputs, labels, clean.classes), wrong)
