"""The loop: steps by the formula, rates by the epoch, and going on to the bit."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.workloads.b_tuning.cases import SAMPLES, convolutional, dense, digits, training, views

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.training import Recipe, checksum


def test_a_step_is_nesterov_with_decay_and_the_head_ten_times_as_fast() -> None:
    recipe = Recipe(epochs=4, batch=SAMPLES, learning_rate=0.01, decay_at=1)
    student = training(recipe=recipe)
    start = copy.deepcopy(student.network)
    inputs, labels = views().inputs, torch.from_numpy(digits()[1])
    loss = torch.nn.functional.cross_entropy(start(inputs)[1], labels)
    loss.backward()  # type: ignore[no-untyped-call]
    line = student.run_epoch()
    assert line["cross_entropy"] == pytest.approx(loss.item(), rel=1e-5)
    before = dict(start.named_parameters())
    for name, after in student.network.named_parameters():
        weight = before[name]
        assert weight.grad is not None
        gradient = weight.grad + 5e-4 * weight
        rate = 0.01 * (10 if name.startswith("head") else 1)
        # The first step: the momentum is the gradient, and Nesterov adds 0.9 of it.
        expected = weight - rate * 1.9 * gradient
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)


def test_the_rate_falls_late() -> None:
    student = training(recipe=Recipe(epochs=6, learning_rate=0.01))
    rates = [student.run_epoch()["learning_rate"] for _ in range(6)]
    assert rates == pytest.approx([0.01] * 4 + [0.001] * 2)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_training_goes_on_to_the_bit(stop: int) -> None:
    recipe = Recipe(epochs=5, batch=16, learning_rate=0.05)
    through, before = (training(convolutional("conv"), recipe, count=2) for _ in range(2))
    for _ in range(5):
        through.run_epoch()
    for _ in range(stop):
        before.run_epoch()
    after = training(convolutional("conv"), recipe, count=2)
    after.restore(copy.deepcopy(before.state()))
    torch.rand(7)  # what the process drew in the meantime
    while after.epoch < 5:
        after.run_epoch()
    assert after.history == through.history
    for name, value in through.network.state_dict().items():
        assert torch.equal(value, after.network.state_dict()[name]), name


def test_epochs_meet_the_views_in_turn() -> None:
    student = training(count=2)
    met = []
    original = student._views.of

    def spy(samples: torch.Tensor, view: int) -> torch.Tensor:
        met.append((view, sorted(samples.tolist())))
        return original(samples, view)

    object.__setattr__(student._views, "of", spy)
    for _ in range(3):
        student.run_epoch()
    steps = len(met) // 3
    assert [view for view, _ in met] == [0] * steps + [1] * steps + [0] * steps
    for epoch in range(3):
        of_epoch = met[epoch * steps : (epoch + 1) * steps]
        assert sorted(i for _, samples in of_epoch for i in samples) == list(range(SAMPLES))


def test_no_batch_of_one_is_left_over() -> None:
    recipe = Recipe(epochs=1, batch=SAMPLES - 1)
    training(convolutional("conv"), recipe).run_epoch()  # batch normalisation would refuse it


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"recipe": Recipe(epochs=9, batch=16)}, "epochs = 4, not 9"),
        ({"seed": 1}, "seed = 0, not 1"),
        ({"count": 2}, "views = 1, not 2"),
        ({"backbone": dense("student", 12, seed=1)}, "student"),
    ],
)
def test_a_state_of_other_settings_is_refused(other: dict[str, object], name: str) -> None:
    state = training().state()
    with pytest.raises(ArgumentError, match=f"the checkpoint was made with {name}"):
        training(**other).restore(state)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_is_refused() -> None:
    student = training(recipe=Recipe(epochs=9, batch=16, learning_rate=1e30))
    with pytest.raises(ArgumentError, match=r"not finite in epoch 0 .*lower the learning rate"):
        student.run_epoch()


@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=9))
def test_a_checksum_sees_every_value(values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    other = tensor.clone()
    other[-1] = other[-1] + 1 if other[-1] + 1 != other[-1] else 0
    assert checksum([tensor]) == checksum([tensor.clone()])
    assert checksum([tensor]) != checksum([other])


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"momentum": 0.0},
        {"weight_decay": -1.0},
        {"decay_at": 1.5},
        {"decay": float("nan")},
    ],
)
def test_recipes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ArgumentError, match=f"{name} is"):
        Recipe(**wrong)  # type: ignore[arg-type]
