"""Candidates as files: what is read, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.workloads.dev.cases import arrays

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import candidate
from crossdock.workloads.dev.candidate import CandidateUnreadable


def save(path: Path, values: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **values)
    else:
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, path)
    return path


def changed(**values: Any) -> dict[str, np.ndarray]:
    """A candidate with other arrays; None leaves one out."""
    both = {**arrays(), **values}
    return {name: np.asarray(value) for name, value in both.items() if value is not None}


@pytest.mark.parametrize("suffix", candidate.SUFFIXES)
def test_both_formats_hold_the_same(tmp_path: Path, suffix: str) -> None:
    given = arrays()
    found = candidate.load(save(tmp_path / f"model{suffix}", given))
    np.testing.assert_array_equal(found.target_features, given["target_features"])
    right = given["source_validation_probabilities"][
        np.arange(80), given["source_validation_labels"]
    ]
    np.testing.assert_allclose(found.source_validation_losses, -np.log(right))
    predicted = given["target_probabilities"].argmax(axis=1)
    assert found.target_accuracy == np.mean(predicted == given["target_labels"])


def test_losses_may_be_mistakes_or_given(tmp_path: Path) -> None:
    given = arrays()
    path = save(tmp_path / "model.npz", given)
    mistakes = (
        given["source_validation_probabilities"].argmax(1) != given["source_validation_labels"]
    )
    assert 0 < mistakes.sum() < 80
    np.testing.assert_array_equal(
        candidate.load(path, "zero-one").source_validation_losses, mistakes
    )
    path = save(path, changed(source_validation_losses=np.arange(80, dtype=np.float32)))
    np.testing.assert_array_equal(
        candidate.load(path, "zero-one").source_validation_losses, np.arange(80)
    )


def test_a_sure_mistake_is_not_infinitely_bad() -> None:
    losses = candidate.losses_of(np.array([[1.0, 0.0]]), np.array([1]), "cross-entropy")
    assert losses[0] == pytest.approx(12 * np.log(10))


def test_predictions_and_labels_of_the_target_may_be_missing(tmp_path: Path) -> None:
    for name in ("target_probabilities", "target_labels"):
        found = candidate.load(save(tmp_path / "model.npz", changed(**{name: None})))
        assert getattr(found, name) is None
        assert found.target_accuracy is None


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"target_features": None}, CandidateUnreadable, "model.npz has no target_features, only"),
        (
            {"source_validation_labels": None},
            CandidateUnreadable,
            "neither source_validation_losses nor source_validation_probabilities and source_v",
        ),
        ({"target_features": np.full((90, 4), np.nan)}, ArgumentError, "90 of 90 rows with a val"),
        ({"target_features": np.ones((90, 5))}, ArgumentError, "has 5 features but .* has 4"),
        ({"target_probabilities": np.ones((7, 3)) / 3}, ArgumentError, "7 rows for 90 samples"),
        ({"target_probabilities": np.ones((90, 3))}, ArgumentError, "sum to 3 to 3; .* not logits"),
        ({"target_labels": np.ones((90, 1))}, ArgumentError, r"shape \(90, 1\) for 90 samples"),
        ({"source_validation_losses": np.ones(3)}, ArgumentError, r"shape \(3,\) for 80 samples"),
        (
            {"source_validation_labels": np.full(80, 3)},
            ArgumentError,
            "label 3 is not one of the 3 classes 0 to 2",
        ),
        ({"source_validation_labels": np.full(80, 0.5)}, ArgumentError, "label 0.5 is not one of"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        candidate.load(save(tmp_path / "model.npz", changed(**values)))


@pytest.mark.parametrize("suffix", candidate.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_what_is_no_file_of_arrays_is_refused(
    tmp_path: Path, suffix: str, content: bytes | None
) -> None:
    path = tmp_path / f"model{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CandidateUnreadable, match=f"model{suffix} cannot be read"):
        candidate.load(path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "model.npz", changed(target_labels=np.array([{}] * 90)))
    with pytest.raises(CandidateUnreadable, match="allow_pickle"):
        candidate.load(path)


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.npz", "a.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in candidate.files(tmp_path)] == ["a.safetensors", "b.npz"]
    with pytest.raises(ArgumentError, match="is no folder"):
        candidate.files(tmp_path / "b.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match=r"no file that ends in \.npz or \.safetensors"):
        candidate.files(tmp_path / "empty")


@pytest.mark.parametrize("shift", [1, -1, 0.5])
def test_labels_of_the_target_are_classes(tmp_path: Path, shift: float) -> None:
    labels = changed()["target_labels"] + shift
    path = save(tmp_path / "one.npz", changed(target_labels=labels))
    with pytest.raises(ArgumentError, match=r"is not one of the . classes 0 to"):
        candidate.load(path)
