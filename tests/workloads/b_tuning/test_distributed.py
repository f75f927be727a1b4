"""Targets over Ray: the bits of this process, whoever computes them."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.workloads.b_tuning.cases import SAMPLES, convolutional, dense, views
from torch import nn

from crossdock.workloads.b_tuning import distributed, targets
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.targets import PosteriorTarget, TargetCache, Teacher

pytestmark = pytest.mark.usefixtures("local_ray")
CPU = torch.device("cpu")


class Mortal(nn.Module):
    """Kills its process unless a file is there, and makes it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.file.exists():
            self.file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return inputs


def teachers(file: Path | None = None) -> list[Teacher]:
    dice = np.random.default_rng(0)
    models = [(dense("flat", 6), 6), (convolutional("square"), 144)]
    if file is not None:
        models.append((Backbone("mortal", Mortal(file)), 64))
    else:
        models.append((Backbone("mortal", nn.Identity()), 64))
    return [Teacher(model, dice.normal(size=(10, width)), 1 / 3) for model, width in models]


def here() -> TargetCache:
    cache = TargetCache(SAMPLES, 2, 10)
    targets.fill(cache, PosteriorTarget(teachers(), CPU), views(2), CPU)
    return cache


def test_actors_give_the_bits_of_one_process_and_one_that_dies_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "CHUNK", 16)
    expected = here()
    cache = TargetCache(SAMPLES, 2, 10)
    cache.put(0, slice(0, 16), expected.values[0, :16])
    told: list[tuple[int, int, int]] = []
    distributed.fill(
        cache,
        PosteriorTarget,
        partial(teachers, tmp_path / "died"),
        views(2),
        actors=1,
        told=lambda view, first, values: told.append((view, first, len(values))),
    )
    assert (tmp_path / "died").exists()
    np.testing.assert_array_equal(cache.values, expected.values)
    assert cache.known.all()
    starts = (0, 16, 32, 48)
    every = [(view, first, min(16, SAMPLES - first)) for view in (0, 1) for first in starts]
    assert sorted(told) == every[1:]
