"""Steps of one worker: chance from the seed alone, going on to the bit, losses that break."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.workloads.partial_da.cases import domains, recipe, task

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.partial_da import (
    DANN,
    ETN,
    METHODS,
    PADA,
    SAN,
    Method,
    NotFiniteLoss,
    SourceOnly,
)
from crossdock.workloads.partial_da.training import Training

ALL = [kind() for kind in METHODS.values()]


def flat(training: Training) -> torch.Tensor:
    nets = [*training.network.parameters(), *training.objective.parameters()]
    return torch.cat([net.detach().flatten() for net in nets])


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_a_state_goes_on_to_the_bit(method: Method) -> None:
    whole, first, second = (task(method).training() for _ in range(3))
    whole.run(8)
    first.run(5)
    second.restore(first.state())
    second.run(8)
    assert torch.equal(flat(whole), flat(second))
    assert torch.equal(whole.class_weights, second.class_weights)
    assert whole.step == second.step == 8


def test_methods_begin_with_the_same_network_and_see_the_same_batches() -> None:
    trainings = [task(method).training() for method in ALL]
    states = [training.network.state_dict() for training in trainings]
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in state)
    rows = [torch.cat(training.rows()) for training in trainings]
    assert all(torch.equal(rows[0], each) for each in rows)


def test_all_train_alike_until_the_warm_up_ends() -> None:
    plain, other = task(SourceOnly()).training(), task(ETN()).training()
    for training in (plain, other):
        training.run(2)
    for one, two in zip(plain.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(one, two)
    other.run(1)
    plain.run(1)
    assert not torch.equal(plain.network.head.weight, other.network.head.weight)


def test_classes_are_drawn_equally_often_where_asked() -> None:
    labels = np.array([0] * 50 + [1] * 8 + [2] * 2)
    given: dict[str, Any] = {"domains": domains(labels=labels)}

    def seen(balanced: bool) -> np.ndarray:
        training = task(PADA(), recipe=recipe(batch=3000, balanced=balanced), **given).training()
        return np.bincount(labels[training.rows()[0].numpy()], minlength=3) / 3000

    np.testing.assert_allclose(seen(True), 1 / 3, atol=0.04)
    np.testing.assert_allclose(seen(False), np.array([50, 8, 2]) / 60, atol=0.04)


def test_class_weights_are_estimated_over_the_whole_target() -> None:
    training = task(SAN()).training()
    training.run(4)
    with torch.no_grad():
        _, logits = training.network(torch.from_numpy(training.domains.target))
    sums = logits.softmax(1).mean(0)
    torch.testing.assert_close(training.estimated(), sums / sums.max())
    assert task(SAN()).training().class_weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("method", [DANN(), ETN(auxiliary_domain=3e38)], ids=["rate", "term"])
def test_a_loss_that_is_not_finite_names_step_method_and_term(method: Method) -> None:
    broken = {"learning_rate": 1e30} if isinstance(method, DANN) else {}
    training = task(method, recipe=recipe(**broken)).training()
    with pytest.raises(NotFiniteLoss) as caught:
        training.run(8)
    error = caught.value
    assert error.method == method.name
    assert f"step {error.step} of {method.name}: the term {error.term!r}" in str(error)
    assert error.term == ("classification" if isinstance(method, DANN) else "auxiliary domain")
    assert error.step == training.step


def test_another_task_is_not_gone_on_with() -> None:
    state = task(SAN()).training().state()
    for other, message in (
        (task(ETN()), "method = 'san', not 'etn'"),
        (task(SAN(entropy=0.5)), "entropy = 0.1, not 0.5"),
        (task(SAN(), seed=4), "seed = 3, not 4"),
        (task(SAN(), recipe=recipe(steps=9)), "steps = 8, not 9"),
        (task(SAN(), domains=domains(target=domains().target + 1)), "made with data = "),
    ):
        with pytest.raises(ArgumentError, match=message):
            other.training().restore(state)


def test_a_backbone_of_ones_own_is_left_as_it_was() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 7), torch.nn.BatchNorm1d(7))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    training = task(SAN(), backbone=Backbone("own", module)).training()
    assert training.network.neck[0].in_features == 7  # type: ignore[index]
    training.run(8)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps is 0, but 1 is the least"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0"),
        ({"warm_up": 1.0}, "warm_up is 1.0; give 0 to below 1"),
        ({"warm_up": 0.9, "steps": 4}, "warm_up 0.9 takes all 4 steps"),
        ({"momentum": 0.0}, "momentum is 0, and Nesterov's needs some"),
        ({"bottleneck": -1}, "bottleneck is -1, but 0 is the least"),
    ],
)
def test_recipes_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        recipe(**given)


def test_the_rate_decays_inversely_and_progress_waits_for_the_warm_up() -> None:
    one = recipe(steps=100, learning_rate=0.5, warm_up=0.2)
    assert one.rate(0) == 0.5
    assert one.rate(100) == pytest.approx(0.5 * 11**-0.75)
    assert [one.progress(step) for step in (0, 20, 60, 100)] == [0, 0, 0.5, 1]
