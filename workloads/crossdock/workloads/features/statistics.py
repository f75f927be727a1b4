"""Sums over samples from which scores of features are made.

All of it adds up: features of different shards need never be in one place, and the order of the
shards only moves the rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossdock.proxy.errors import ArgumentError, MismatchError
from crossdock.workloads.features import blocks, inputs, roots
from crossdock.workloads.features.errors import WrongShape
from crossdock.workloads.features.inputs import Floats, Targets, Task

Moments = Literal["none", "diagonal", "full"]
MOMENTS = ("none", "diagonal", "full")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over N samples with features F (N x D) and targets Y (N x C), in float64.

    With classes Y is one-hot: then `cross` holds the sums of the features of each class, and
    `squares` the number of its samples.
    """

    task: Task
    classes: NDArray[Any]
    """(C,): the labels, sorted; without classes, the numbers of the columns."""
    count: int
    """N."""
    gram: Floats
    """(D, D): F'F."""
    cross: Floats
    """(D, C): F'Y."""
    squares: Floats
    """(C,): the diagonal of Y'Y."""
    sums: Floats
    """(D,): of F."""
    target_sums: Floats
    """(C,): of Y."""
    low: Floats
    """(C,): the least of each column of Y; infinity without samples."""
    high: Floats
    """(C,): the greatest."""
    first: Floats
    """(D,): the features of some sample."""
    varies: bool
    """Whether any sample has other features than `first`."""
    moments: Floats | None = None
    """(C, D): sums of F**2 of each class; or (C, D, D): F'F of each class; None: not asked for."""
    root: Floats | None = None
    """(any, D + C): some R with R'R = [F Y]'[F Y], of which no square was taken; see ``roots``."""

    @classmethod
    def of(
        cls,
        features: Any,
        targets: Any,
        task: Task = "classification",
        *,
        classes: Any = None,
        moments: Moments = "none",
        root: bool = False,
        first_row: int = 0,
    ) -> Statistics:
        """The sums over some samples.

        `features` (N x D) and `targets` (N, or N x C) are arrays or tensors, on any device; the
        sums are taken there, in float64. `moments` of classes take C x D or C x D x D numbers. A
        `root` tells features apart of which the squares would not, for twice the work. Errors
        count rows from `first_row`.
        Raises NotFinite, WrongShape, EmptyClass and ArgumentError.
        """
        found = inputs.features_of(features)
        wanted = (
            targets if isinstance(targets, Targets) else inputs.targets_of(targets, task, classes)
        )
        if len(wanted) != len(found):
            raise WrongShape(f"{len(found)} rows of features have {len(wanted)} labels")
        if moments not in MOMENTS:
            raise ArgumentError(f"moments is {moments!r}; choose from {', '.join(MOMENTS)}")
        if moments != "none" and wanted.codes is None:
            raise ArgumentError(f"moments is {moments!r}, but {wanted.task} has no classes")
        rows = blocks.rows_of(found)
        return reduce(
            Statistics.merge,
            (
                _of_block(
                    found[start : start + rows],
                    wanted.part(slice(start, start + rows)),
                    moments,
                    root,
                    first_row + start,
                )
                for start in range(0, len(found), rows)
            ),
        )

    @classmethod
    def total(cls, parts: Iterable[Statistics]) -> Statistics:
        """Of several, in their order; ArgumentError where there are none."""
        listed = list(parts)
        if not listed:
            raise ArgumentError("there are no statistics to add up")
        return reduce(Statistics.merge, listed)

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.gram)

    @property
    def moments_ndim(self) -> int:
        """Dimensions of `moments`: 0 where there are none."""
        return 0 if self.moments is None else self.moments.ndim

    def merge(self, other: Statistics) -> Statistics:
        """Over the samples of both; classes that only one of them knows are joined.

        Raises MismatchError for features, targets or moments of another kind or size.
        """
        _expect_alike(self, other)
        classes = self.classes
        if not np.array_equal(classes, other.classes):
            classes = np.union1d(classes, other.classes)
        mine, theirs = self.spread(classes), other.spread(classes)
        moments = None
        if mine.moments is not None and theirs.moments is not None:
            moments = mine.moments + theirs.moments
        return Statistics(
            task=self.task,
            classes=classes,
            count=mine.count + theirs.count,
            gram=mine.gram + theirs.gram,
            cross=mine.cross + theirs.cross,
            squares=mine.squares + theirs.squares,
            sums=mine.sums + theirs.sums,
            target_sums=mine.target_sums + theirs.target_sums,
            low=np.minimum(mine.low, theirs.low),
            high=np.maximum(mine.high, theirs.high),
            first=mine.first,
            varies=mine.varies or theirs.varies or bool((mine.first != theirs.first).any()),
            moments=moments,
            root=roots.merged(mine.root, theirs.root),
        )

    def spread(self, classes: NDArray[Any]) -> Statistics:
        """The same with more classes, of which it has no sample; `classes` holds all of them."""
        if np.array_equal(classes, self.classes):
            return self
        places = np.searchsorted(classes, self.classes)
        size = len(classes)

        def wide(values: Floats, axis: int, fill: float = 0.0) -> Floats:
            shape = list(values.shape)
            shape[axis] = size
            result = np.full(shape, fill)
            result[(slice(None),) * axis + (places,)] = values
            return result

        return Statistics(
            task=self.task,
            classes=classes,
            count=self.count,
            gram=self.gram,
            cross=wide(self.cross, 1),
            squares=wide(self.squares, 0),
            sums=self.sums,
            target_sums=wide(self.target_sums, 0),
            # Whoever has a sample of another class has a 0 in the column of this one.
            low=wide(self.low, 0),
            high=wide(self.high, 0),
            first=self.first,
            varies=self.varies,
            moments=None if self.moments is None else wide(self.moments, 0),
            root=self._spread_root(places, size),
        )

    def _spread_root(self, places: NDArray[np.intp], size: int) -> Floats | None:
        if self.root is None:
            return None
        result = np.zeros((len(self.root), self.dimension + size))
        result[:, : self.dimension] = self.root[:, : self.dimension]
        result[:, self.dimension + places] = self.root[:, self.dimension :]
        return result

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays by name, such as `numpy.savez` takes."""
        return {
            name: np.asarray(getattr(self, name))
            for name in self.__dataclass_fields__
            if getattr(self, name) is not None
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Statistics:
        """What ``to_arrays`` made; ArgumentError where a part is missing."""
        given = {name: arrays[name] for name in cls.__dataclass_fields__ if name in arrays}
        missing = cls.__dataclass_fields__.keys() - given.keys() - {"moments", "root"}
        if missing:
            raise ArgumentError(f"these are not statistics: {', '.join(sorted(missing))} missing")
        plain = {"task": str, "count": int, "varies": bool}
        fields: dict[str, Any] = {
            name: plain[name](value) if name in plain else np.asarray(value)
            for name, value in given.items()
        }
        return cls(**fields)


def _expect_alike(mine: Statistics, other: Statistics) -> None:
    for name, a, b in (
        ("task", mine.task, other.task),
        ("number of features", mine.dimension, other.dimension),
        ("dimensions of moments", mine.moments_ndim, other.moments_ndim),
        ("presence of a root", mine.root is not None, other.root is not None),
    ):
        if a != b:
            raise MismatchError(f"{name} of statistics to be merged: {a!r} and {b!r}")
    if mine.task != "classification" and len(mine.classes) != len(other.classes):
        raise MismatchError(
            f"targets of statistics to be merged: {len(mine.classes)} and {len(other.classes)}"
        )
    if (mine.classes.dtype.kind == "U") != (other.classes.dtype.kind == "U"):
        raise MismatchError("labels of statistics to be merged: names and numbers")


def _of_block(
    given: Any, targets: Targets, moments: Moments, root: bool, first_row: int
) -> Statistics:
    summed = blocks.summed(given, targets, moments, first_row)
    if targets.codes is not None:
        sizes = np.bincount(targets.codes, minlength=len(targets.classes)).astype(np.float64)
        squares = target_sums = sizes
        low, high = (sizes == len(given)).astype(np.float64), (sizes > 0).astype(np.float64)
    else:
        columns = targets.rows(0, len(given))
        squares, target_sums = (columns**2).sum(axis=0), columns.sum(axis=0)
        low, high = columns.min(axis=0), columns.max(axis=0)
    return Statistics(
        task=targets.task,
        classes=targets.classes,
        count=len(given),
        gram=summed.gram,
        cross=summed.cross,
        squares=squares,
        sums=summed.sums,
        target_sums=target_sums,
        low=low,
        high=high,
        first=summed.first,
        varies=summed.varies,
        moments=summed.moments,
        root=roots.of(given, targets.rows(0, len(given))) if root else None,
    )
