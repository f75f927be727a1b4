"""Features and labels in files: .npy, .npz, .safetensors, .parquet; labels also in .txt.

A file holds the features of one model, samples by features. Of a .npy and of a .safetensors only
what is asked for is read; of the others the whole array.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdock.proxy.errors import CrossdockError
from crossdock.workloads.features import WrongShape, inputs


class FileRefused(CrossdockError, OSError):
    """A file cannot be read, or not as what it is said to be; the message names it."""


def shape_of(path: Path, name: str) -> tuple[int, int]:
    """(N, D) of the features in a file; FileRefused, WrongShape."""
    shape = tuple(opened(path, name).shape)
    if len(shape) != 2 or 0 in shape:
        raise WrongShape(f"{path} holds an array of shape {shape}; store samples by features")
    return shape[0], shape[1]


def labels_of(path: Path, name: str) -> NDArray[Any]:
    """Labels, a row a sample; in a .txt a line is a label: numbers where all are, else names."""
    if path.suffix == ".txt":
        lines = np.array(_tried(path, lambda: path.read_text().splitlines()), dtype=str)
        for kind in (np.int64, np.float64):
            with contextlib.suppress(ValueError):
                return lines.astype(kind)
        return lines
    found = opened(path, name)
    return np.asarray(inputs.home(found[: found.shape[0]]))


def opened(path: Path, name: str) -> Any:
    """What has a shape, and parts by slices: array or tensor; FileRefused."""
    read = _READERS.get(path.suffix)
    if read is None:
        raise FileRefused(f"{path} ends in none of {', '.join(sorted(_READERS))}")
    return _tried(path, lambda: read(path, name))


def _tried(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileRefused:
        raise
    except ImportError as error:
        raise FileRefused(f"{path} cannot be read here: {error}") from error
    except Exception as error:  # each reader has errors of its own
        raise FileRefused(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _npy(path: Path, _name: str) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path, name: str) -> Any:
    with np.load(path, allow_pickle=False) as file:
        return file[_chosen(path, file.files, name)]


def _safetensors(path: Path, name: str) -> Any:
    from safetensors import safe_open

    file: Any = safe_open(path, framework="pt")  # NumPy has no bfloat16
    return _Slices(file.get_slice(_chosen(path, list(file.keys()), name)))


class _Slices:
    """A tensor in a file."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self.shape = tuple(tensor.get_shape())

    def __getitem__(self, part: Any) -> Any:
        return self._tensor[part]


def _parquet(path: Path, name: str) -> Any:
    """A column of that name, of numbers or of lists of them."""
    from pyarrow import parquet

    names = parquet.read_schema(path).names
    column = parquet.read_table(path, columns=[_chosen(path, names, name)]).column(0)
    rows = column.to_numpy()
    return np.stack(rows) if rows.dtype == object and not isinstance(rows[0], str) else rows


def _chosen(path: Path, names: list[str], name: str) -> str:
    """The name if it is there, else the only one that is."""
    if name in names:
        return name
    if len(names) == 1:
        return names[0]
    raise FileRefused(f"{path} holds {', '.join(names) or 'nothing'}, and no {name!r}")


_READERS: dict[str, Callable[[Path, str], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
