"""All that the scores need of one model's features, gathered in one pass over them.

Sums over rows are added over shards, so features need never be in one place. LEEP and N-LEEP are no
functions of sums: they read a sample of rows that is fixed before features are seen, and is all
rows of a data set that is small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from crossdock.proxy.errors import ArgumentError, MismatchError
from crossdock.workloads.features import Statistics
from crossdock.workloads.features.inputs import Floats
from crossdock.workloads.rank.errors import ModelFailed

Integers = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]
_ROWS = ("numbers", "labels", "features", "probabilities")
"""Fields that hold sampled rows: they are joined, all others are added."""
_STATISTICS = "statistics."
_UNITY = 1e-3
"""How far from 1 a row of probabilities may sum: heads in half precision are off by less."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of N rows with features f (D values), one of C classes each, and one of Z source labels."""

    statistics: Statistics
    """Sums of f, by classes too; with `moments`, D x D sums of each class."""
    norms: Floats
    """(2 + D,): sums of |f|^2, of |f|^4, and of |f|^2 f."""
    head: Floats | None
    """(C, Z): sum of the source probabilities of each class; None without them."""
    votes: Floats | None
    """(C, Z): rows of each class by their source label; None without a head."""
    numbers: Integers
    """(S,): which rows of the data set are sampled, in ascending order."""
    labels: Integers
    """(S,): their classes, 0 to C - 1."""
    features: Floats
    """(S, D): their features."""
    probabilities: Floats | None
    """(S, Z): their source probabilities; None without them."""

    @property
    def rows(self) -> int:
        """N."""
        return self.statistics.count

    @property
    def counts(self) -> Floats:
        """(C,): rows of each class."""
        return self.statistics.squares

    @property
    def mean(self) -> Floats:
        """(D,): of f over all rows."""
        return self.statistics.sums / self.rows

    @property
    def class_means(self) -> Floats:
        """(C, D): of f over each class; zero for a class without rows."""
        return np.asarray(self.statistics.cross.T / np.maximum(self.counts, 1)[:, None])

    @property
    def covariance(self) -> Floats:
        """(D, D): of f over all rows, divided by N."""
        return self.statistics.gram / self.rows - np.outer(self.mean, self.mean)

    @property
    def between(self) -> Floats:
        """(D, D): of the class means, weighted by counts, divided by N."""
        off = self.class_means - self.mean
        return (off * self.counts[:, None]).T @ off / self.rows

    @property
    def noise(self) -> float:
        """What rounding leaves of a variance that is zero: the covariance is a difference."""
        size = float(np.trace(self.statistics.gram)) / self.rows
        return float(np.finfo(float).eps) * self.statistics.dimension * size

    def arrays(self, prefix: str = "") -> Arrays:
        """What is there, for a file; ``of`` reads it."""
        found = {f"{prefix}{_STATISTICS}{k}": v for k, v in self.statistics.to_arrays().items()}
        for field in fields(self)[1:]:
            if (value := getattr(self, field.name)) is not None:
                found[prefix + field.name] = value
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> Summary:
        """What ``arrays`` wrote."""
        start = prefix + _STATISTICS
        sums = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        others: dict[str, Any] = {f.name: arrays.get(prefix + f.name) for f in fields(cls)[1:]}
        return cls(statistics=Statistics.from_arrays(sums), **others)


def summarise(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    classes: int,
    probabilities: npt.ArrayLike | None = None,
    source_labels: npt.ArrayLike | None = None,
    source_classes: int | None = None,
    numbers: Integers | None = None,
    sampled: npt.NDArray[np.bool_] | None = None,
    by_class: bool = True,
) -> Summary:
    """The summary of some rows.

    Args:
        features: (N, D).
        labels: (N,), whole numbers from 0 to classes - 1.
        classes: C.
        probabilities: (N, Z), what the model's own head says; its largest is the source label.
        source_labels: (N,), where a head says labels only; with ``source_classes``, Z.
        numbers: (N,), which rows of the data set these are; by default the first N.
        sampled: (N,), which of them are kept whole; by default all.
        by_class: whether to gather D x D sums of each class.

    Raises:
        DataRefused: for labels that do not fit.
        ModelFailed: for features or a head that cannot be scored, with the first row that is wrong.
    """
    label = np.asarray(labels)
    number = np.arange(len(label)) if numbers is None else numbers
    f = _features(features, number)
    theta = None if probabilities is None else _probabilities(probabilities, number)
    if theta is not None:
        source_labels, source_classes = theta.argmax(1), theta.shape[1]
    statistics = Statistics.of(
        f, label, classes=np.arange(classes), moments="full" if by_class else "none"
    )
    one_hot = np.eye(classes)[label]
    squares = np.einsum("nd,nd->n", f, f)
    keep = np.arange(len(f)) if sampled is None else np.flatnonzero(sampled)
    keep = keep[np.argsort(number[keep])]
    source = None if source_labels is None else np.asarray(source_labels)
    return Summary(
        statistics=statistics,
        norms=np.concatenate([[squares.sum(), squares @ squares], squares @ f]),
        head=None if theta is None else one_hot.T @ theta,
        votes=None if source is None else _votes(one_hot, source, source_classes, number),
        numbers=number[keep],
        labels=label[keep],
        features=f[keep],
        probabilities=None if theta is None else theta[keep],
    )


def merge(summaries: Sequence[Summary]) -> Summary:
    """The summary of all their rows together.

    Raises:
        ArgumentError: without any.
        MismatchError: if they differ in width, classes, or in what is there.
    """
    statistics = Statistics.total(each.statistics for each in summaries)
    others: dict[str, Any] = dict(_merged(summaries))
    return Summary(statistics=statistics, **others)


def _merged(summaries: Sequence[Summary]) -> Iterator[tuple[str, npt.NDArray[Any] | None]]:
    order = np.argsort(np.concatenate([each.numbers for each in summaries]))
    for field in fields(Summary)[1:]:
        parts = [getattr(each, field.name) for each in summaries]
        if all(part is None for part in parts):
            yield field.name, None
            continue
        row = 1 if field.name in _ROWS else 0
        if any(part is None for part in parts) or len({part.shape[row:] for part in parts}) > 1:
            shapes = sorted({str(None if part is None else part.shape) for part in parts})
            raise MismatchError(
                f"summaries differ in {field.name}: {', '.join(shapes)}; merge those of one model"
            )
        yield field.name, np.concatenate(parts)[order] if row else np.sum(parts, axis=0)


def _features(features: npt.ArrayLike, number: Integers) -> Floats:
    f = np.asarray(features, np.float64)
    if f.ndim != 2 or len(f) != len(number) or f.shape[1] == 0:
        raise ModelFailed(
            f"features have shape {f.shape}; {len(number)} rows of at least one value are expected"
        )
    if not np.isfinite(f).all():
        row, column = np.argwhere(~np.isfinite(f))[0]
        raise ModelFailed(f"features hold {f[row, column]} in row {number[row]}, column {column}")
    return f


def _probabilities(probabilities: npt.ArrayLike, number: Integers) -> Floats:
    theta = np.asarray(probabilities, np.float64)
    if theta.ndim != 2 or len(theta) != len(number) or theta.shape[1] == 0:
        raise ModelFailed(
            f"the head's probabilities have shape {theta.shape}; {len(number)} rows are expected"
        )
    wrong = ~((theta >= 0).all(1) & (np.abs(theta.sum(1) - 1) <= _UNITY))
    if wrong.any():
        row = int(wrong.argmax())
        raise ModelFailed(
            f"the head's probabilities of row {number[row]} sum to {theta[row].sum():.6g} with "
            f"{theta[row].min():.6g} as the least; they must be >= 0 and sum to 1"
        )
    return theta


def _votes(one_hot: Floats, source: Integers, classes: int | None, number: Integers) -> Floats:
    if classes is None or source.shape != (len(one_hot),):
        raise ArgumentError(
            f"source labels have shape {source.shape} and {classes} classes; "
            f"give {len(one_hot)} labels and their number of classes"
        )
    wrong = (source < 0) | (source >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise ModelFailed(
            f"row {number[row]} has source label {source[row]}, "
            f"but the head has labels 0 to {classes - 1}"
        )
    return np.asarray(one_hot.T @ np.eye(classes)[source])
