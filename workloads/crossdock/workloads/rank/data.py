"""The data set that models are ranked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import datasets

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features import DataRefused, OneClass, WrongShape
from crossdock.workloads.features.inputs import expect_finite, targets_of

BUNDLED: Mapping[str, Callable[..., Any]] = {
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}
"""Sets that scikit-learn brings, with classes."""
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png")
_MOST_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Data:
    """N inputs with their classes."""

    inputs: npt.NDArray[np.float32]
    """(N, ...)."""
    labels: npt.NDArray[np.int64]
    """(N,), 0 to C - 1: places in `classes`."""
    classes: npt.NDArray[Any]
    """(C,): the labels as they were given, in order."""


def load(place: str, classes: int | None = None) -> Data:
    """The data set at a place.

    Args:
        place: a file ``.npz`` with arrays `x` (N, ...) and `y` (N,); a folder with a folder of
            ``.npy`` files or pictures for each class; ``MODULE:FUNCTION``, which gives (x, y); or
            a set of scikit-learn's: breast_cancer, digits, iris, wine.
        classes: labels go from 0 to this less 1, whether each occurs or not; by default the
            classes are the labels that occur.

    Raises:
        ArgumentError: there is none, or what is there does not fit (``DataRefused``).
    """
    inputs, y = read(place)
    targets = targets_of(y, "classification")
    if len(targets) != len(inputs):
        raise WrongShape(f"{place}: {len(inputs)} inputs have {len(targets)} labels")
    assert targets.codes is not None
    found = Data(inputs, targets.codes, targets.classes)
    return _expect_two(place, found if classes is None else _within(place, found, classes))


def read(place: str, *, labelled: bool = True) -> tuple[npt.NDArray[np.float32], Any]:
    """Inputs (N, ...) of a place, and their labels as they were given.

    Where they need not be `labelled`, labels are None if the file has no `y`, or if the folder has
    the samples themselves in it.

    Raises:
        ArgumentError: as ``load``.
    """
    x, y = _read(place, labelled)
    inputs = np.asarray(x)
    if inputs.ndim < 2 or len(inputs) == 0 or inputs.dtype.kind not in "fiub":
        raise WrongShape(
            f"{place}: inputs have shape {inputs.shape} and type {inputs.dtype}; "
            "give rows of numbers"
        )
    inputs = inputs.astype(np.float32)
    expect_finite(inputs.reshape(len(inputs), -1), f"{place}: inputs")
    return inputs, y


def _within(place: str, data: Data, classes: int) -> Data:
    """With all classes that there might be."""
    labels = data.classes[data.labels]
    wrong = ~np.isin(labels, np.arange(classes))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataRefused(
            f"{place}: row {row} has label {labels[row]!s}, one of {int(wrong.sum())} rows out of "
            f"range; labels go from 0 to {classes - 1}"
        )
    return Data(data.inputs, labels.astype(np.int64), np.arange(classes))


def _expect_two(place: str, data: Data) -> Data:
    if len(np.unique(data.labels)) < 2:
        raise OneClass(f"{place}: all rows have one class, {data.classes[data.labels[0]]!s}")
    return data


def _read(place: str, labelled: bool) -> tuple[Any, Any]:
    path = Path(place)
    if place in BUNDLED:
        x, y = BUNDLED[place](return_X_y=True)
        return x, y
    if path.suffix == ".npz":
        return _npz(path, labelled)
    if path.is_dir():
        return _folder(path, labelled)
    module, _, name = place.partition(":")
    if not name:
        raise ArgumentError(
            f"no data at {place}; give a file .npz, a folder, MODULE:FUNCTION, or one of "
            f"{', '.join(BUNDLED)}"
        )
    try:
        x, y = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ArgumentError(f"{place} gives no (x, y): {error}") from error
    return x, y


def _npz(path: Path, labelled: bool) -> tuple[Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            needed = {"x", "y"} if labelled else {"x"}
            if not needed <= set(file.files):
                names = " and ".join(sorted(needed))
                raise ArgumentError(f"{path} holds {', '.join(file.files)}; give arrays {names}")
            return file["x"], file["y"] if "y" in file.files else None
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{path} cannot be read: {error}") from error


def _folder(folder: Path, labelled: bool) -> tuple[Any, Any]:
    own_folders = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(path, own.name) for own in own_folders for path in sorted(own.iterdir())]
    if not files and not labelled:
        files = [(path, "") for path in sorted(folder.iterdir()) if path.is_file()]
    if not files:
        raise ArgumentError(f"{folder} has no folder of files for each class")
    rows = [_file(path) for path, _ in files]
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        some = ", ".join(map(str, sorted(shapes)[:_MOST_SHOWN]))
        raise WrongShape(f"{folder}: inputs have shapes {some}; make them alike")
    names = np.array([name for _, name in files]) if own_folders else None
    return np.stack(rows), names


def _file(path: Path) -> npt.NDArray[np.float32]:
    """Pictures come as (channels, height, width), 0 to 1."""
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float32)
        if path.suffix.lower() in _PICTURES:
            return _picture(path)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{path} cannot be read: {error}") from error
    raise ArgumentError(f"{path} is neither .npy nor one of {', '.join(_PICTURES)}")


def _picture(path: Path) -> npt.NDArray[np.float32]:
    from PIL import Image  # comes with matplotlib

    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    return np.asarray(pixels.transpose(2, 0, 1), np.float32)
