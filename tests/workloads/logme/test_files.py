"""Files of features and labels, and what is wrong with some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file

from crossdock.workloads.features import WrongShape, inputs
from crossdock.workloads.logme import files
from crossdock.workloads.logme.files import FileRefused

F = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 1, 0])


def test_every_kind_of_file_holds_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", F)
    np.savez(tmp_path / "a.npz", features=F, labels=Y)
    both = {"features": torch.from_numpy(F).bfloat16(), "labels": torch.from_numpy(Y)}
    save_file(both, tmp_path / "a.safetensors")
    table = pyarrow.table({"features": list(F), "labels": Y, "name": list("abcd")})
    parquet.write_table(table, tmp_path / "a.parquet")
    for ending in ("npy", "npz", "safetensors", "parquet"):
        path = tmp_path / f"a.{ending}"
        assert files.shape_of(path, "features") == (4, 3)
        held = files.opened(path, "features")
        np.testing.assert_array_equal(inputs.home(inputs.features_of(held[1:3])), F[1:3])
        np.testing.assert_array_equal(inputs.home(inputs.features_of(held[:, 1:])), F[:, 1:])
        if ending != "npy":
            assert files.labels_of(path, "labels").tolist() == Y.tolist()
    assert files.labels_of(tmp_path / "a.parquet", "name").tolist() == list("abcd")


def test_an_only_array_needs_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=F)
    assert files.shape_of(tmp_path / "a.npz", "features") == (4, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1\n10\n2\n", [1, 10, 2]), ("0.5\n2\n", [0.5, 2.0]), ("ant\n7", ["ant", "7"])],
)
def test_lines_are_labels(tmp_path: Path, text: str, expected: list[Any]) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert files.labels_of(tmp_path / "a.txt", "labels").tolist() == expected


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("not an array")
    (tmp_path / "a.doc").touch()
    np.savez(tmp_path / "two.npz", a=F, b=F)
    np.save(tmp_path / "flat.npy", Y)
    for name, message in (
        ("none.npy", r"none\.npy cannot be read: FileNotFoundError"),
        ("a.npy", r"a\.npy cannot be read"),
        ("a.doc", r"a\.doc ends in none of .npy"),
        ("two.npz", r"holds a, b, and no 'features'"),
    ):
        with pytest.raises(FileRefused, match=message):
            files.shape_of(tmp_path / name, "features")
    with pytest.raises(FileRefused, match=r"none\.txt cannot be read"):
        files.labels_of(tmp_path / "none.txt", "labels")
    with pytest.raises(WrongShape, match=r"shape \(4,\)"):
        files.shape_of(tmp_path / "flat.npy", "features")
