"""Wrong labels: exactly as many as asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.noise import mislabelled
from crossdock.workloads.lr_decay.samples import Samples


def clean(count: int, classes: int) -> Samples:
    return Samples(torch.zeros(count, 1), torch.arange(count) % classes, classes)


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.0, 0.7), classes=st.integers(2, 8), seed=st.integers(0, 99))
def test_rate_is_exact_and_only_the_named_rows_are_wrong(
    rate: float, classes: int, seed: int
) -> None:
    before = clean(400, classes)
    given = mislabelled(before, rate, torch.Generator().manual_seed(seed))
    differ = (given.samples.labels != before.labels).nonzero().flatten()
    assert len(differ) == round(400 * rate)
    assert differ.tolist() == sorted(given.wrong.tolist())


def test_wrong_labels_are_of_all_other_classes_alike() -> None:
    before = clean(30_000, 4)
    given = mislabelled(before, 0.8, torch.Generator().manual_seed(0))
    shift = (given.samples.labels - before.labels)[given.wrong] % 4
    assert torch.bincount(shift, minlength=4)[0] == 0
    parts = torch.bincount(shift, minlength=4)[1:] / len(shift)
    assert parts.tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(ArgumentError, match="the noise rate is"):
        mislabelled(clean(10, 2), rate, torch.Generator())


def test_one_class_has_no_wrong_label() -> None:
    with pytest.raises(ArgumentError, match="no label can be wrong"):
        mislabelled(clean(10, 1), 0.5, torch.Generator())
