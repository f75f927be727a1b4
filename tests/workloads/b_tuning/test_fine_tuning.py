"""The plain estimator: conventions, bits, interruption, refusals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tests.workloads.b_tuning.cases import convolutional, dense, digits

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.fine_tuning import FineTuning
from crossdock.workloads.b_tuning.training import Recipe, checksum

SHORT = Recipe(epochs=3, batch=16, learning_rate=0.02)


def bits(tuned: FineTuning) -> int:
    return checksum(tuned.network_.state_dict().values())


def test_it_learns_and_answers_in_the_users_labels() -> None:
    images, numbers = digits(200)
    names = np.array([f"digit {number}" for number in numbers])
    recipe = Recipe(epochs=30, batch=16, learning_rate=0.02)
    tuned = FineTuning(dense("student", 32), recipe=recipe).fit(images, names)
    assert tuned.classes_.tolist() == [f"digit {number}" for number in range(10)]
    assert tuned.score(images, names) > 0.95
    chances = tuned.predict_proba(images)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (tuned.classes_[chances.argmax(axis=1)] == tuned.predict(images)).all()


def test_it_follows_the_conventions_of_estimators() -> None:
    student = FineTuning(dense("student", 8), recipe=SHORT, seed=3)
    assert set(student.get_params(deep=False)) == {
        "student", "recipe", "augment", "views", "seed", "device", "penalty"
    }  # fmt: skip
    copied = clone(student).set_params(seed=4)
    assert (copied.seed, student.seed, copied.recipe) == (4, 3, SHORT)
    with pytest.raises(Exception, match="not fitted yet"):
        student.predict(digits()[0])


def test_the_seed_decides_every_bit() -> None:
    images, labels = digits()
    model = convolutional("conv")
    torch.manual_seed(1)
    first = FineTuning(model, recipe=SHORT).fit(images, labels)
    torch.manual_seed(2)
    again = FineTuning(model, recipe=SHORT).fit(images, labels)
    other = FineTuning(model, recipe=SHORT, seed=1).fit(images, labels)
    assert bits(first) == bits(again) != bits(other)


def test_the_student_that_was_given_stays_as_it_was() -> None:
    images, labels = digits()
    model = convolutional("conv")
    before = checksum(model.module.state_dict().values())
    tuned = FineTuning(model, recipe=SHORT).fit(images, labels)
    assert checksum(model.module.state_dict().values()) == before
    assert checksum(tuned.network_.body.state_dict().values()) != before


class Stop(Exception):
    """Ends a fit in the middle."""


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_an_interrupted_fit_goes_on_to_the_bit(tmp_path: Path, stop: int) -> None:
    images, labels = digits()
    model = convolutional("conv")
    kwargs: dict[str, Any] = {"validation": digits(90)}

    def stopping(line: Mapping[str, float]) -> None:
        if line["epoch"] == stop:
            raise Stop

    whole = FineTuning(model, recipe=SHORT).fit(images, labels, **kwargs)
    kwargs["checkpoint"] = tmp_path / "student.pt"
    with pytest.raises(Stop):
        FineTuning(model, recipe=SHORT).fit(images, labels, told=stopping, **kwargs)
    told: list[float] = []
    resumed = FineTuning(model, recipe=SHORT).fit(
        images, labels, told=lambda line: told.append(line["epoch"]), **kwargs
    )
    assert told == list(range(stop + 1, 4))
    assert bits(resumed) == bits(whole)
    assert resumed.history_ == whole.history_
    assert resumed.history_[-1]["validation_accuracy"] == resumed.score(*digits(90))


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    images, labels = digits()
    path = tmp_path / "student.pt"
    tuning = FineTuning(dense("student", 8), recipe=SHORT)
    tuning.fit(images, labels, checkpoint=path)
    with pytest.raises(ArgumentError, match="made with inputs = "):
        tuning.fit(images * 0.5, labels, checkpoint=path)
    with pytest.raises(ArgumentError, match="made with labels = "):
        tuning.fit(images, labels[::-1], checkpoint=path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 64)), np.arange(3), r"y has shape \(3,\) for 4 inputs"),
        (np.zeros((4, 64)), np.zeros(4), "y holds 1 class, but 2 is the least"),
        (np.zeros((0, 64)), np.zeros(0), r"X has shape \(0, 64\)"),
        (np.zeros(4), np.arange(4), r"X has shape \(4,\)"),
        (np.full((4, 64), np.nan), np.arange(4), "X holds values that are not finite"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        FineTuning(dense("student", 8)).fit(images, labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bits_twice_and_nearly_those_of_the_cpu() -> None:
    images, labels = digits(200)
    model = convolutional("conv")
    model.module[3].p = 0.0  # type: ignore[index]  # devices draw differently
    first, again = (
        FineTuning(model, recipe=SHORT, device="cuda").fit(images, labels) for _ in range(2)
    )
    assert bits(first) == bits(again)
    host = FineTuning(model, recipe=SHORT).fit(images, labels)
    np.testing.assert_allclose(
        first.predict_proba(images), host.predict_proba(images), rtol=1e-2, atol=1e-3
    )


def test_a_fit_that_stops_early_goes_on_with_the_next_call(tmp_path: Path) -> None:
    images, labels = digits()
    model = convolutional("conv")
    whole = FineTuning(model, recipe=SHORT).fit(images, labels)
    parts = FineTuning(model, recipe=SHORT)
    for until in (1, 2, 9):
        parts.fit(images, labels, checkpoint=tmp_path / "student.pt", until=until)
        assert len(parts.history_) == min(until, SHORT.epochs)
    assert bits(parts) == bits(whole)
