"""A place of the grid from its problem to its value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from crossdock.workloads.lr_decay.errors import TrainingDiverged
from crossdock.workloads.lr_decay.networks import Network, mlp
from crossdock.workloads.lr_decay.patterns import Block, Patterns
from crossdock.workloads.lr_decay.problem import SHARES_SIMPLE, Sizes, of_patterns
from crossdock.workloads.lr_decay.schedule import Schedule, schedules
from crossdock.workloads.lr_decay.training import Recipe
from crossdock.workloads.lr_decay.trial import Trial
from crossdock.workloads.runner import Value

EASY = Patterns(
    classes=3,
    simple=Block(width=4, prototypes=1, scale=3.0, noise=0.1),
    complex=Block(width=8, prototypes=2, scale=3.0, noise=0.1),
)
MEASURES = ("test", "probe simple", "probe complex", "noise fit")
TRIAL = Trial(
    problem=of_patterns(EASY, Sizes(train=150, test=60, target_train=30, target_test=60), seed=5),
    noise=0.1,
    factory=mlp,
    schedules=schedules(large=0.1, small=0.02, decays=(2, 4), epochs=6),
    recipe=Recipe(batch=10),
    seed=5,
)


@pytest.fixture(scope="module")
def value() -> Value:
    return TRIAL.run()


def test_shapes_are_as_said_and_easy_patterns_are_learnt(value: Value) -> None:
    assert {value[name].shape for name in MEASURES} == {(4, 7)}
    assert value["loss"].shape == (4, 6)
    assert value["transfer shares simple"].shape == (4, 3)
    assert value["diverged"] == {}
    assert value["test"][:, 0].max() < 0.8
    assert value["test"][:, -1].min() > 0.9
    assert value["probe simple"][:, -1].min() > 0.9


def test_schedules_are_the_same_until_they_differ(value: Value) -> None:
    large, _, early, late = range(4)
    for name in MEASURES:
        assert value[name][large, :3].tolist() == value[name][early, :3].tolist()
        assert value[name][large, :5].tolist() == value[name][late, :5].tolist()
    assert value["loss"][large, 2] != value["loss"][early, 2]
    assert value["loss"][large, 4] != value["loss"][late, 4]


def test_features_before_the_decay_are_those_of_a_training_that_ends_there() -> None:
    blurred = replace(EASY, simple=replace(EASY.simple, noise=2.0))
    blurred = replace(blurred, complex=replace(EASY.complex, noise=2.0))
    sizes = Sizes(train=150, test=60, target_train=30, target_test=3000)
    trial = replace(TRIAL, problem=of_patterns(blurred, sizes, seed=5))
    found = trial.run()[f"transfer {SHARES_SIMPLE}"]
    ends = []
    for epochs in (1, 2, 3):
        constant = [Schedule(name="constant", epochs=epochs, rate=0.1)]
        ends.append(replace(trial, schedules=constant).run()[f"transfer {SHARES_SIMPLE}"][0, 2])
    assert ends[0] != ends[1] != ends[2], "an epoch more or less would be seen"
    assert found[2, 1] == ends[1], "decay at 2: the constant large rate for 2 epochs"
    assert np.isnan(found[:2, 1]).all(), "constants have no decay"
    assert len(set(found[:, 0])) == 1, "all start alike"


def test_value_is_the_same_to_the_bit(value: Value) -> None:
    again = TRIAL.run()
    for name, one in value.items():
        if isinstance(one, np.ndarray):
            assert one.tobytes() == again[name].tobytes(), name
    other = replace(TRIAL, seed=6).run()
    assert other["loss"].tobytes() != value["loss"].tobytes()


def test_schedule_that_diverges_is_named_and_the_others_go_on(value: Value) -> None:
    wild = schedules(large=1e30, small=0.02, decays=(2,), epochs=6)
    found = replace(TRIAL, schedules=wild).run()
    assert set(found["diverged"]) == {"constant large", "decay at 2"}
    assert "in epoch 0, at rate 1e+30" in found["diverged"]["constant large"]
    assert np.isnan(found["test"][0, -1])
    assert found["test"][1].tolist() == value["test"][1].tolist()
    assert np.isnan(found["transfer shares simple"][2, 1:]).all()


class Broken(nn.Module):
    """Gives no numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(12))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight * torch.nan


def broken(shape: tuple[int, ...], classes: int) -> Network:
    return Network(Broken(), nn.Linear(12, classes))


def test_trial_in_which_all_diverge_fails() -> None:
    with pytest.raises(TrainingDiverged, match=r"no schedule came to its end \(constant large: "):
        replace(TRIAL, factory=broken).run()
