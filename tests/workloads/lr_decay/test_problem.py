"""Source tasks, probes and targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.patterns import Block, Patterns
from crossdock.workloads.lr_decay.problem import (
    COMPLEX,
    OTHER_CLASSES,
    SHARES_COMPLEX,
    SHARES_SIMPLE,
    SIMPLE,
    Sizes,
    of_data,
    of_patterns,
)
from crossdock.workloads.lr_decay.samples import Samples
from crossdock.workloads.rank.data import Data

QUIET = Patterns(
    classes=3,
    simple=Block(width=4, prototypes=1, noise=0.0),
    complex=Block(width=6, prototypes=2, noise=0.0),
)
SIZES = Sizes(train=60, test=60, target_train=30, target_test=30)


def prototypes(inputs: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in inputs.tolist() if any(row)}


def blocks(samples: Samples) -> tuple[set[tuple[float, ...]], set[tuple[float, ...]]]:
    return prototypes(samples.inputs[:, :4]), prototypes(samples.inputs[:, 4:])


def test_targets_share_the_block_of_their_name_and_no_other() -> None:
    problem = of_patterns(QUIET, SIZES, seed=3)
    simple, fine = blocks(problem.train)
    assert (len(simple), len(fine)) == (3, 6)
    for name, shared in ((SHARES_SIMPLE, 0), (SHARES_COMPLEX, 1)):
        for samples in (problem.targets[name].train, problem.targets[name].test):
            own = blocks(samples)
            assert own[shared] == (simple, fine)[shared]
            assert not own[1 - shared] & (simple, fine)[1 - shared]
            assert bool((samples.inputs[:, :4].abs().sum(1) > 0).all())
            assert bool((samples.inputs[:, 4:].abs().sum(1) > 0).all())


def test_probes_show_one_block_of_the_source() -> None:
    problem = of_patterns(QUIET, SIZES, seed=3)
    simple, fine = blocks(problem.train)
    assert blocks(problem.probes[SIMPLE]) == (simple, set())
    assert blocks(problem.probes[COMPLEX]) == (set(), fine)
    for samples in problem.probes.values():
        assert bool((samples.inputs.abs().sum(1) > 0).all()), "no sample is blank"


def test_problem_is_that_of_its_seed() -> None:
    one, same, other = (of_patterns(QUIET, SIZES, seed) for seed in (3, 3, 4))
    assert torch.equal(one.train.inputs, same.train.inputs)
    assert torch.equal(
        one.targets[SHARES_SIMPLE].test.inputs, same.targets[SHARES_SIMPLE].test.inputs
    )
    assert not torch.equal(one.train.inputs, other.train.inputs)


def data_of(classes: int = 5, of_each: int = 20) -> Data:
    labels = np.arange(classes * of_each) % classes
    inputs = labels[:, None, None] + np.zeros((1, 2, 3), np.float32)
    return Data(inputs.astype(np.float32), labels.astype(np.int64), np.arange(classes))


def test_classes_of_a_data_set_are_split_into_source_and_target() -> None:
    problem = of_data(data_of(), source_classes=2, target_train=9, seed=0)
    assert (len(problem.train), len(problem.test), problem.train.classes) == (20, 20, 2)
    target = problem.targets[OTHER_CLASSES]
    assert (len(target.train), len(target.test), target.train.classes) == (9, 51, 3)
    assert problem.train.inputs.shape[1:] == (2, 3)
    assert float(problem.train.inputs.mean()) == pytest.approx(0.0, abs=1e-6)
    # Inputs say which class they were; classes 0 and 1 are the source, the target begins with 2.
    for samples, first in ((problem.train, 0), (problem.test, 0), (target.train, 2)):
        values = samples.inputs[:, 0, 0]
        zero = problem.train.inputs[problem.train.labels == 0, 0, 0][0]
        step = problem.train.inputs[problem.train.labels == 1, 0, 0][0] - zero
        assert ((values - zero) / step - first).round().long().tolist() == samples.labels.tolist()


@pytest.mark.parametrize(
    ("source_classes", "target_train", "message"),
    [
        (1, 9, "1 of 5 classes as the source"),
        (4, 9, "4 of 5 classes as the source"),
        (2, 2, "60 samples cannot be split, 2 for training"),
        (2, 60, "60 samples cannot be split, 60 for training"),
    ],
)
def test_data_that_cannot_be_split_are_refused(
    source_classes: int, target_train: int, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        of_data(data_of(), source_classes, target_train, seed=0)


@pytest.mark.parametrize("name", ["train", "test", "target_train", "target_test"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is 0"):
        Sizes(**{name: 0})
