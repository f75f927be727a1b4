"""Probes on networks of which everything is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay import probes
from crossdock.workloads.lr_decay.noise import Mislabelled
from crossdock.workloads.lr_decay.samples import Samples


def by_first_and_by_last(inputs: Tensor) -> Tensor:
    """Two networks: one reads the class from the first number, the other from the last."""
    return torch.stack([torch.stack([-inputs[:, place], inputs[:, place]], 1) for place in (0, -1)])


SAMPLES = Samples(
    torch.tensor([[-1.0, 9, 1], [1, 9, 1], [-1, 9, -1], [1, 9, -1]]), torch.tensor([0, 1, 0, 1]), 2
)


def test_blanking_takes_what_a_network_reads() -> None:
    assert probes.accuracy(by_first_and_by_last, SAMPLES).tolist() == [1.0, 0.5]
    blank = probes.blanked(SAMPLES, slice(0, 1))
    assert blank.inputs[:, 0].tolist() == [0.0] * 4
    assert torch.equal(blank.inputs[:, 1:], SAMPLES.inputs[:, 1:])
    assert SAMPLES.inputs[0, 0] == -1.0, "the samples themselves stay"
    assert probes.accuracy(by_first_and_by_last, blank).tolist() == [0.5, 0.5]
    untouched = probes.blanked(SAMPLES, slice(1, 3))
    assert probes.accuracy(by_first_and_by_last, untouched).tolist() == [1.0, 0.5]
    with pytest.raises(ArgumentError, match="block 3 to 5 of the inputs is empty"):
        probes.blanked(SAMPLES, slice(3, 5))


def test_noise_fit_counts_the_wrong_labels_alone() -> None:
    wrong = Samples(SAMPLES.inputs, torch.tensor([1, 1, 0, 0]), 2)
    given = Mislabelled(wrong, torch.tensor([0, 3]))
    assert probes.noise_fit(by_first_and_by_last, given).tolist() == [0.0, 1.0]
    none = Mislabelled(SAMPLES, torch.tensor([], dtype=torch.int64))
    assert probes.noise_fit(by_first_and_by_last, none).isnan().all()


def test_network_without_finite_logits_has_no_accuracy() -> None:
    def broken(inputs: Tensor) -> Tensor:
        logits = by_first_and_by_last(inputs)
        logits[1, 0, 0] = math.nan
        return logits

    first, second = probes.accuracy(broken, SAMPLES).tolist()
    assert first == 1.0
    assert math.isnan(second)
