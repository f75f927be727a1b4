"""Which rows go where. Nothing of it depends on how many workers there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank.errors import ModelFailed
from crossdock.workloads.rank.networks import Network, Outputs
from crossdock.workloads.rank.summary import Summary, summarise

if TYPE_CHECKING:  # it brings the sets of scikit-learn
    from crossdock.workloads.rank.data import Data

_ROWS_OF_A_SHARD = 4096


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What has to be the same for every shard of every model."""

    classes: int
    batch: int
    """Rows that a model sees at a time. A shard holds whole batches: in single precision the same
    row in another batch has other last digits."""
    folds: int
    """Of the jackknife: row r is in fold r mod folds."""
    class_moments_bytes: int
    """Most that second moments by class may take, over all folds; else they are left out."""

    def by_class(self, width: int) -> bool:
        """Whether features so wide get them."""
        return self.classes * width**2 * 8 * self.folds <= self.class_moments_bytes


@dataclass(frozen=True, eq=False)
class Shard:
    """Rows of the data set, from `start` on."""

    start: int
    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    sampled: npt.NDArray[np.bool_]
    """Which of them are kept whole, for scores that are no sums."""


def cut(data: Data, shards: int | None, batch: int, sample: int, seed: int) -> list[Shard]:
    """The shards of a data set: whole batches, as even as they come.

    Args:
        shards: how many; by default one for each 4096 rows.
        sample: how many rows are kept whole; the choice depends on `seed` alone.

    Raises:
        ArgumentError: for more shards than batches.
    """
    rows = len(data.labels)
    batches = -(-rows // batch)
    count = min(-(-rows // _ROWS_OF_A_SHARD), batches) if shards is None else shards
    if not 1 <= count <= batches:
        raise ArgumentError(
            f"{count} shards of {rows} rows in batches of {batch}; give 1 to {batches}, or a "
            "smaller batch"
        )
    sampled = np.zeros(rows, bool)
    sampled[np.random.default_rng(seed).permutation(rows)[:sample]] = True
    edges = np.linspace(0, batches, count + 1).round().astype(int) * batch
    return [
        Shard(start, data.inputs[start:end], data.labels[start:end], sampled[start:end])
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def folds_of(
    network: Network, shard: Shard, plan: Plan, source_classes: int | None = None
) -> dict[int, Summary]:
    """Run a model over a shard: the summary of each fold that has rows in it.

    Raises:
        ModelFailed: the features cannot be scored; or whatever the model raises.
    """
    pieces = [
        _checked(network(shard.inputs[i : i + plan.batch]), len(shard.labels[i : i + plan.batch]))
        for i in range(0, len(shard.labels), plan.batch)
    ]
    whole = _together(pieces)
    numbers = np.arange(shard.start, shard.start + len(shard.labels))
    found = {}
    for fold in range(plan.folds):
        own = np.flatnonzero(numbers % plan.folds == fold)
        if not len(own):
            continue
        found[fold] = summarise(
            whole.features[own],
            shard.labels[own],
            classes=plan.classes,
            probabilities=None if whole.probabilities is None else whole.probabilities[own],
            source_labels=None if whole.source_labels is None else whole.source_labels[own],
            source_classes=source_classes,
            numbers=numbers[own],
            sampled=shard.sampled[own],
            by_class=plan.by_class(whole.features.shape[1]),
        )
    return found


def _together(pieces: Sequence[Outputs]) -> Outputs:
    features, probabilities, labels = zip(*pieces, strict=True)
    try:
        return Outputs(
            np.concatenate(features),
            None if probabilities[0] is None else np.concatenate(probabilities),
            None if labels[0] is None else np.concatenate(labels),
        )
    except ValueError as error:
        raise ModelFailed(f"outputs of batches do not fit together: {error}") from error


def _checked(outputs: Outputs, rows: int) -> Outputs:
    for part in outputs:
        if part is not None and len(part) != rows:
            raise ModelFailed(f"{rows} inputs gave {len(part)} rows of output")
    return outputs
