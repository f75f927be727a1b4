"""Data sets: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features import DataRefused, NotFinite, OneClass, WrongShape
from crossdock.workloads.rank import data

X = np.arange(24.0).reshape(6, 4)
Y = np.array([3, 5, 3, 5, 9, 3])


def saved(path: Path, **arrays: Any) -> str:
    np.savez(path / "set.npz", **arrays)
    return str(path / "set.npz")


def made() -> tuple[Any, Any]:
    """A factory of data."""
    return X.tolist(), ["b", "a", "b", "a", "b", "a"]


def test_a_file_gives_inputs_and_places_of_labels(tmp_path: Path) -> None:
    found = data.load(saved(tmp_path, x=X, y=Y))
    np.testing.assert_array_equal(found.inputs, X)
    assert found.inputs.dtype == np.float32
    assert found.labels.tolist() == [0, 1, 0, 1, 2, 0]
    assert found.classes.tolist() == [3, 5, 9]


def test_with_a_number_of_classes_labels_are_their_own_places(tmp_path: Path) -> None:
    found = data.load(saved(tmp_path, x=X, y=Y), classes=10)
    assert found.labels.tolist() == Y.tolist()
    assert len(found.classes) == 10


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), 10),
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("breast_cancer", (569, 30), 2),
    ],
)
def test_sets_of_scikit_learn(name: str, shape: tuple[int, int], classes: int) -> None:
    found = data.load(name)
    assert (found.inputs.shape, len(found.classes)) == (shape, classes)


def test_a_function_gives_them() -> None:
    found = data.load(f"{__name__}:made")
    assert found.inputs.shape == (6, 4)
    assert found.classes.tolist() == ["a", "b"]
    assert found.labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_a_folder_has_a_folder_for_each_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            pixels = rng.integers(0, 255, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    found = data.load(str(tmp_path))
    assert found.inputs.shape == (4, 3, 5, 6)
    assert found.classes.tolist() == ["cat", "dog"]
    assert found.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(found.inputs[3] * 255, pixels.transpose(2, 0, 1), atol=1e-4)
    np.save(tmp_path / "cat" / "odd.npy", np.zeros((3, 5, 7)))
    with pytest.raises(WrongShape, match=r"\(3, 5, 6\), \(3, 5, 7\)"):
        data.load(str(tmp_path))
    (tmp_path / "cat" / "odd.npy").write_text("no array")
    with pytest.raises(ArgumentError, match=r"odd\.npy cannot be read"):
        data.load(str(tmp_path))


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"y": [0, 1, 2, -1, 0, 1]}, DataRefused, "row 3 has label -1, one of 1 rows out of range"),
        ({"y": [0, 1, 2, 3, 0, 3]}, DataRefused, "row 3 has label 3, one of 2 rows .* 0 to 2"),
        ({"y": list("abcabc")}, DataRefused, "row 0 has label a, one of 6"),
        ({"y": [0.5] * 6}, ArgumentError, "fractions"),
        ({"y": [1, 2]}, WrongShape, "6 inputs have 2 labels"),
        ({"y": [1] * 6}, OneClass, "all rows have one class, 1"),
        ({"x": np.where(X == 6, np.nan, X)}, NotFinite, "inputs hold nan in row 1, column 2"),
        ({"x": X[:, 0]}, WrongShape, r"shape \(6,\)"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    given = {"x": X, "y": [0, 1, 2, 0, 1, 2], **changed}
    with pytest.raises(error, match=said):
        data.load(saved(tmp_path, **given), classes=3)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no data at mnist; give a file \.npz"):
        data.load("mnist")
    with pytest.raises(ArgumentError, match="holds x; give arrays x and y"):
        data.load(saved(tmp_path, x=X))
    (tmp_path / "set.npz").write_bytes(b"PK")
    with pytest.raises(ArgumentError, match="cannot be read"):
        data.load(str(tmp_path / "set.npz"))
    with pytest.raises(ArgumentError, match=r"gives no .x, y.*no attribute 'mode'"):
        data.load(f"{__name__}:mode")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match="no folder of files for each class"):
        data.load(str(tmp_path / "empty"))
