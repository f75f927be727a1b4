"""What is given, as arrays that can be summed: checked, without a copy where that can be."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.features.errors import EmptyClass, NotFinite, WrongShape

Floats = NDArray[np.float64]
Task = Literal["classification", "regression", "multilabel"]
_MOST_LABEL = 2.0**63
TASKS = ("classification", "regression", "multilabel")


@dataclass(frozen=True, eq=False)
class Targets:
    """Labels as columns Y (N x C): one-hot by codes for classes, else as they are."""

    task: Task
    classes: NDArray[Any]
    """(C,): the labels, sorted; without classes, the numbers of the columns."""
    codes: NDArray[np.int64] | None
    """(N,): the place of each sample's label in `classes`; None without classes."""
    columns: Floats | None
    """(N, C): targets, or 0 and 1 for labels of which a sample may have many."""

    def __len__(self) -> int:
        held = self.codes if self.codes is not None else self.columns
        assert held is not None
        return len(held)

    def rows(self, start: int, stop: int) -> Floats:
        """(stop - start, C): some rows of Y."""
        if self.columns is not None:
            return self.columns[start:stop]
        assert self.codes is not None
        return np.eye(len(self.classes))[self.codes[start:stop]]

    def part(self, rows: slice | NDArray[np.int64]) -> Targets:
        """Of some samples; the classes stay those of all."""
        codes = None if self.codes is None else self.codes[rows]
        columns = None if self.columns is None else self.columns[rows]
        return Targets(self.task, self.classes, codes, columns)


def is_tensor(value: object) -> bool:
    """Whether it is a tensor of PyTorch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def features_of(given: Any) -> Any:
    """F (N x D) as it lies: a NumPy array, or a tensor where that is on another device.

    Raises WrongShape for anything but a table of real numbers with a row and a column.
    """
    found = _array(given, "features")
    if len(found.shape) != 2 or 0 in found.shape:
        raise WrongShape(
            f"features have shape {tuple(found.shape)}; give samples by features, at least 1 x 1"
        )
    return found


def targets_of(given: Any, task: Task, classes: Any = None) -> Targets:
    """Labels or targets of N samples.

    `classes` names the classes beforehand; without, they are the labels that occur. Raises
    WrongShape, NotFinite, and EmptyClass for a label that is not among `classes`.
    """
    if task not in TASKS:
        raise ArgumentError(f"task is {task!r}; choose from {', '.join(TASKS)}")
    if task == "classification":
        return _classes(given, classes)
    if classes is not None:
        raise ArgumentError(f"classes are given for {task}, whose columns need no names")
    found = np.asarray(home(_array(given, "targets")), dtype=np.float64)
    if found.ndim == 1 and task == "regression":
        found = found[:, None]
    if found.ndim != 2 or found.shape[1] == 0:
        raise WrongShape(f"targets of {task} have shape {found.shape}; give samples by columns")
    expect_finite(found, "targets")
    if task == "multilabel" and not np.isin(found, (0, 1)).all():
        raise ArgumentError("targets of multilabel hold other than 0 and 1; is it a regression?")
    return Targets(task, np.arange(found.shape[1]), None, found)


def home(given: Any) -> NDArray[Any]:
    """As an array in the memory of this process."""
    if not is_tensor(given):
        return np.asarray(given)
    tensor = given.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # bfloat16, which NumPy has not
        return np.asarray(tensor.float().numpy())


def expect_finite(
    values: NDArray[Any], what: str, first_row: int = 0, first_column: int = 0
) -> None:
    """NotFinite, naming the first value that is none."""
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(index) for index in np.argwhere(bad)[0])
        raise NotFinite(
            f"{what} hold {values[row, column]} in row {first_row + row}, column "
            f"{first_column + column}, and {int(bad.sum())} such in all; leave such samples out, "
            "or mend the model"
        )


def _array(given: Any, what: str) -> Any:
    if is_tensor(given):
        tensor = given.detach()
        if tensor.is_complex():
            raise WrongShape(f"{what} are complex; give real numbers")
        return home(tensor) if tensor.device.type == "cpu" else tensor
    found = np.asarray(given)
    if found.dtype.kind not in "fiub":
        raise WrongShape(f"{what} are of type {found.dtype}; give real numbers")
    return found


def _classes(given: Any, named: Any) -> Targets:
    labels = _labels(given)
    classes = np.unique(labels) if named is None else np.unique(_labels(named))
    codes = np.searchsorted(classes, labels).clip(max=max(len(classes) - 1, 0))
    if len(labels) and (len(classes) == 0 or (classes[codes] != labels).any()):
        strange = np.setdiff1d(labels, classes)
        raise EmptyClass(f"samples have the label {strange[0]!r}, which is not among the classes")
    return Targets("classification", classes, codes.astype(np.int64), None)


def _labels(given: Any) -> NDArray[Any]:
    found = home(given)
    if found.dtype == object and all(isinstance(label, str) for label in found.flat):
        found = found.astype(str)
    if found.ndim != 1:
        raise WrongShape(f"labels have shape {found.shape}; give one label a sample")
    if found.dtype.kind not in "fiubU":
        raise WrongShape(f"labels are of type {found.dtype}; give numbers or names")
    if found.dtype.kind == "f":
        expect_finite(found[:, None], "labels")
        if (found != np.round(found)).any():
            raise ArgumentError("labels are fractions; is it a regression?")
        if (np.abs(found) >= _MOST_LABEL).any():
            raise ArgumentError(
                f"label {found[np.abs(found).argmax()]:g} is too large for a whole number; give"
                " numbers of classes, or names"
            )
        found = found.astype(np.int64)
    return found
