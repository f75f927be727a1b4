"""Small models and data that the tests of B-Tuning share."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.training import Network, Recipe, Training
from crossdock.workloads.b_tuning.views import Views

SAMPLES = 60


def digits(count: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 64) from 0 to 1, and their labels."""
    images, labels = load_digits(return_X_y=True)
    return images[:count] / 16, labels[:count]


def dense(name: str, width: int, seed: int = 0) -> Backbone:
    """Of flat images."""
    torch.manual_seed(seed)
    return Backbone(name, nn.Sequential(nn.Linear(64, width), nn.ReLU()))


def convolutional(name: str, seed: int = 0) -> Backbone:
    """Of other inputs than `dense`: square images from -1 to 1, by its own transform.

    With all that a checkpoint must not forget: statistics of batches, and dropout.
    """
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten()
    )
    return Backbone(name, module, squares)


def squares(inputs: torch.Tensor) -> torch.Tensor:
    """(B, 64) from 0 to 1, to (B, 1, 8, 8) from -1 to 1."""
    return inputs.reshape(-1, 1, 8, 8) * 2 - 1


def shaken(sample: torch.Tensor, dice: torch.Generator, size: float = 0.1) -> torch.Tensor:
    """A sample with noise."""
    return sample + size * torch.randn(sample.shape, generator=dice)


def views(count: int = 1, seed: int = 0) -> Views:
    """Of the first digits, shaken where there are several."""
    inputs = torch.from_numpy(digits()[0]).float()
    return Views(inputs, partial(shaken) if count > 1 else None, count, seed)


def training(
    backbone: Backbone | None = None, recipe: Recipe | None = None, seed: int = 0, count: int = 1
) -> Training:
    """Of a student without teachers, on the first digits."""
    student = (backbone or dense("student", 12)).copied(torch.device("cpu"))
    seen = views(count)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(student, student(seen.inputs[:2]).shape[1], 10)
    labels = torch.from_numpy(digits()[1])
    return Training(network, None, seen, labels, recipe or Recipe(epochs=4, batch=16), seed)
