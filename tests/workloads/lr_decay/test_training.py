"""Training side by side is training one after another by torch's own SGD."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.networks import Network, cnn, mlp
from crossdock.workloads.lr_decay.samples import Samples
from crossdock.workloads.lr_decay.schedule import schedules
from crossdock.workloads.lr_decay.training import Recipe, SideBySide

SCHEDULES = schedules(large=0.05, small=0.01, decays=(2,), epochs=4)


def samples_of(*shape: int, count: int = 20) -> Samples:
    inputs = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    return Samples(inputs.double(), torch.arange(count) % 3, 3)


@pytest.mark.parametrize("shape", [(5,), (8, 8)])
def test_equals_sgd_of_torch(shape: tuple[int, ...]) -> None:
    samples = samples_of(*shape)
    torch.manual_seed(0)
    network = (mlp if len(shape) == 1 else cnn)(shape, 3).double()
    recipe = Recipe(batch=6, momentum=0.9, weight_decay=0.01)
    together = SideBySide(network, SCHEDULES, recipe)
    orders = torch.Generator().manual_seed(7)
    losses = [together.epoch(samples, epoch, orders) for epoch in range(4)]
    for i, schedule in enumerate(SCHEDULES):
        alone = copy.deepcopy(network)
        sgd = torch.optim.SGD(alone.parameters(), lr=1.0, momentum=0.9, weight_decay=0.01)
        orders = torch.Generator().manual_seed(7)
        for epoch in range(4):
            sgd.param_groups[0]["lr"] = schedule.at(epoch)
            order = torch.randperm(20, generator=orders)
            seen = []
            for first in (0, 6, 12):
                rows = order[first : first + 6]
                loss = functional.cross_entropy(alone(samples.inputs[rows]), samples.labels[rows])
                sgd.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                sgd.step()
                seen.append(float(loss.detach()))
            assert float(losses[epoch][i]) == pytest.approx(sum(seen) / 3, rel=1e-9)
        assert together.logits(samples.inputs)[i] == pytest.approx(
            alone(samples.inputs).detach(), rel=1e-9, abs=1e-12
        )
        found = together.features(together.state, samples.inputs)[i]
        assert found == pytest.approx(alone.body(samples.inputs).detach(), rel=1e-9, abs=1e-12)


def test_network_that_diverges_leaves_the_others_alone() -> None:
    samples = samples_of(5)
    network = mlp((5,), 3).double()
    wild = schedules(large=1e30, small=0.01, decays=(2,), epochs=4)
    mild = schedules(large=0.02, small=0.01, decays=(2,), epochs=4)
    ends = []
    for given in (wild, mild):
        together = SideBySide(network, given, Recipe(batch=5))
        for epoch in range(4):
            loss = together.epoch(samples, epoch, torch.Generator().manual_seed(epoch))
        ends.append(together.logits(samples.inputs))
    assert not loss.isnan().any()
    assert not ends[0][0].isfinite().all()
    assert torch.equal(ends[0][1], ends[1][1])


def test_copies_stay_as_they_were() -> None:
    samples = samples_of(5)
    together = SideBySide(mlp((5,), 3).double(), SCHEDULES, Recipe(batch=5))
    before = together.copied()
    kept = {name: one.clone() for name, one in before.items()}
    together.epoch(samples, 0, torch.Generator())
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    assert not torch.equal(together.state["head.weight"], kept["head.weight"])


def test_what_cannot_train_is_refused() -> None:
    body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(5))
    with pytest.raises(ArgumentError, match="has buffers, as batch normalisation does"):
        SideBySide(Network(body, nn.Linear(5, 3)), SCHEDULES, Recipe())
    together = SideBySide(mlp((5,), 3).double(), SCHEDULES, Recipe(batch=21))
    with pytest.raises(ArgumentError, match="20 samples are fewer than a batch of 21"):
        together.epoch(samples_of(5), 0, torch.Generator())


@pytest.mark.parametrize(
    "values", [{"batch": 0}, {"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1.0}]
)
def test_recipes_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(values))):
        Recipe(**values)  # type: ignore[arg-type]
