"""A linear classifier on features."""

from __future__ import annotations

import math

import torch

from crossdock.workloads.lr_decay import transfer
from crossdock.workloads.lr_decay.samples import Samples
from crossdock.workloads.lr_decay.transfer import Target


def target() -> Target:
    labels = torch.arange(200) % 4
    samples = Samples(torch.zeros(200, 1), labels, 4)
    return Target(samples, samples)


def test_features_that_tell_the_class_are_told_from_noise() -> None:
    given = target()
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 200, 6, generator=chance)
    telling = noise.clone()
    telling[:, :, 2] += 5.0 * given.train.labels
    telling[:, :, 3] += 5.0 * (given.train.labels % 2)
    telling[:, :, 4] += 5.0 * (given.train.labels == 0)
    assert transfer.accuracy(telling[0], telling[1], given) > 0.95
    assert transfer.accuracy(noise[0], noise[1], given) < 0.45


def test_scale_and_dead_features_do_not_matter() -> None:
    given = target()
    features = torch.randn(2, 200, 5, generator=torch.Generator().manual_seed(1))
    features[:, :, 0] += given.train.labels
    features[:, :, 4] = 0.0
    scaled = features * torch.tensor([1e-3, 1e3, 1.0, 8.0, 1.0])
    plain = transfer.accuracy(features[0], features[1], given)
    assert abs(transfer.accuracy(scaled[0], scaled[1], given) - plain) < 0.02


def test_features_that_are_not_finite_have_no_accuracy() -> None:
    broken = torch.full((200, 3), math.nan)
    assert math.isnan(transfer.accuracy(broken, broken, target()))


def test_test_features_are_scaled_as_those_of_training_were() -> None:
    train = target().train
    labels = torch.tensor([3] * 190 + [0, 1, 2] * 2)
    given = Target(train, Samples(torch.zeros(196, 1), labels, 4))
    one_hot = torch.eye(4)
    assert transfer.accuracy(one_hot[train.labels], one_hot[labels], given) == 1.0
    assert transfer.accuracy(one_hot[train.labels], 0.6 * one_hot[labels], given) == 1.0
    shifted = one_hot[labels] - one_hot[3]
    assert transfer.accuracy(one_hot[train.labels], shifted, given) < 0.9
