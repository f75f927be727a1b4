"""Samples refuse what nothing could be learnt from."""

from __future__ import annotations

import math

import pytest
import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.errors import ClassMissing
from crossdock.workloads.lr_decay.samples import Samples


def test_class_without_samples_is_named() -> None:
    with pytest.raises(ClassMissing, match=r"1 of 3 classes have no samples, class 1 first"):
        Samples(torch.zeros(4, 2), torch.tensor([0, 0, 2, 2]), 3)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(3, 2), [0, 1], r"3 inputs have labels of shape \(2,\)"),
        (torch.full((2, 2), math.nan), [0, 1], "not finite"),
        (torch.zeros(2, 2), [0, 2], "labels go from 0 to 2, but there are 2 classes"),
        (torch.zeros(2, 2), [-1, 1], "labels go from -1 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    inputs: torch.Tensor, labels: list[int], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        Samples(inputs, torch.tensor(labels), 2)


def test_length_is_that_of_the_labels() -> None:
    assert len(Samples(torch.zeros(3, 2), torch.tensor([0, 1, 1]), 2)) == 3
