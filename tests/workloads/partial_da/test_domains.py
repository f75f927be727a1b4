"""Domains from arrays and files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workloads.partial_da.cases import clusters, domains

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features import EmptyClass, NotFinite, WrongShape
from crossdock.workloads.partial_da import NotPartial
from crossdock.workloads.partial_da.domains import load

LABELS = np.arange(60) % 3
NAMES = np.array(["ape", "bee", "cat"])


def saved(path: Path, x: np.ndarray, y: np.ndarray | None = None) -> str:
    arrays = {"x": x} if y is None else {"x": x, "y": y}
    np.savez(path, allow_pickle=False, **arrays)
    return str(path)


def test_a_file_is_split_and_labels_of_the_target_are_places_in_the_sources(
    tmp_path: Path,
) -> None:
    source = saved(tmp_path / "source.npz", clusters(LABELS, 0.0, 0), NAMES[LABELS])
    target = saved(tmp_path / "target.npz", clusters(LABELS[:9], 1.0, 1), np.array(["cat"] * 9))
    found = load(source, target, 0.25, 0)
    assert (len(found.source), len(found.validation), len(found.target)) == (45, 15, 9)
    assert np.bincount(found.validation_labels).tolist() == [5, 5, 5]
    assert found.target_labels is not None
    assert found.target_labels.tolist() == [2] * 9
    assert found.shared is not None
    assert found.shared.tolist() == [False, False, True]
    unlabelled = saved(tmp_path / "unlabelled.npz", clusters(LABELS[:9], 1.0, 1))
    assert load(source, unlabelled, 0.25, 0).target_labels is None
    assert load(source, unlabelled, 0.25, 0).shared is None


def test_folders_of_files_with_and_without_classes(tmp_path: Path) -> None:
    for row, label in enumerate(LABELS):
        place = tmp_path / "source" / str(NAMES[label])
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{row:02}.npy", clusters(LABELS, 0.0, 0)[row])
    (tmp_path / "target").mkdir()
    for row in range(5):
        np.save(tmp_path / "target" / f"{row}.npy", np.full(4, row, np.float32))
    found = load(str(tmp_path / "source"), str(tmp_path / "target"), 0.5, 0)
    assert found.classes.tolist() == NAMES.tolist()
    assert found.target[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.target_labels is None
    (tmp_path / "source" / "dog").mkdir()
    with pytest.raises(EmptyClass, match="no source example has class dog; give some, or remove"):
        load(str(tmp_path / "source"), str(tmp_path / "target"), 0.5, 0)


def test_classes_that_the_source_lacks_are_named(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.npz", clusters(LABELS, 0.0, 0), NAMES[LABELS])
    target = saved(tmp_path / "t.npz", clusters(LABELS[:2], 0.0, 0), np.array(["bee", "dog"]))
    with pytest.raises(NotPartial, match="the target has classes that the source lacks: dog;"):
        load(source, target, 0.25, 0)


def test_a_class_too_small_to_split_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "s.npz", clusters(LABELS[:4], 0.0, 0), LABELS[:4])
    with pytest.raises(ArgumentError, match=r"cannot be split with validation 0\.25"):
        load(source, source, 0.25, 0)
    with pytest.raises(ArgumentError, match="validation is 0; give a part between"):
        load(source, source, 0, 0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"labels": np.arange(60) % 2}, EmptyClass, "no source example has class c; give some"),
        ({"target_labels": np.full(40, 3)}, NotPartial, "target labels 3 are none of the 3"),
        ({"target_labels": np.full(40, -1)}, NotPartial, "target labels -1 are none"),
        ({"labels": np.arange(60) % 4}, WrongShape, "labels hold 3; they are places in the 3"),
        ({"labels": np.zeros(59, int)}, WrongShape, r"60 source inputs have labels \(59,\)"),
        (
            {"target": np.zeros((40, 5), np.float32)},
            WrongShape,
            r"target inputs have shape \(5,\) each, but the source's have \(4,\)",
        ),
        ({"target": np.zeros(40, np.float32)}, WrongShape, r"target inputs have shape \(40,\)"),
        ({"target": np.full((40, 4), np.nan, np.float32)}, NotFinite, "target"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        domains(**given)
