"""From sums to scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossdock.workloads.features import (
    EmptyClass,
    OneClass,
    Statistics,
    TooFewSamples,
    WrongShape,
    ZeroVariance,
)
from crossdock.workloads.features.inputs import Targets
from crossdock.workloads.logme import compat, evidence, spectrum
from crossdock.workloads.logme.evidence import Optimum
from crossdock.workloads.logme.kernels import Kernel
from crossdock.workloads.logme.spectrum import Spectrum

Mode = Literal["correct", "compat"]
LEAST_SAMPLES = 2
METHODS: dict[str, Callable[[Spectrum], Optimum]] = {
    "correct": evidence.maximum,
    "compat": compat.fixed_point,
}


@dataclass(frozen=True, eq=False)
class Solution:
    """What features and labels come to."""

    spectrum: Spectrum
    optimum: Optimum
    classes: NDArray[Any]
    """(C,): labels, or numbers of columns."""

    @property
    def score(self) -> float:
        """The mean of the evidences of the columns."""
        return float(self.optimum.evidences.mean())


def of_statistics(statistics: Statistics, mode: Mode) -> Solution:
    """From sums over samples, by their root where they have one.

    Raises TooFewSamples, EmptyClass, OneClass, ZeroVariance, NotFinite.
    """
    expect_telling(statistics)
    spectrum.expect_size_of_targets(statistics.squares)
    expect_varied(statistics.varies, statistics.count)
    of = spectrum.of_gram if statistics.root is None else spectrum.of_root
    seen = of(statistics)
    return Solution(seen, METHODS[mode](seen), statistics.classes)


def of_kernel(kernel: Kernel, targets: Targets, mode: Mode) -> Solution:
    """From F F' and the labels; raises the same."""
    if len(kernel.matrix) != len(targets):
        raise WrongShape(f"a kernel of {len(kernel.matrix)} samples has {len(targets)} labels")
    expect_telling(targets)
    expect_varied(kernel.varies, len(targets))
    columns = targets.rows(0, len(targets))
    with np.errstate(over="ignore"):
        spectrum.expect_size_of_targets((columns**2).sum(axis=0))
    seen = spectrum.of_kernel(kernel.matrix, columns, kernel.dimension)
    return Solution(seen, METHODS[mode](seen), targets.classes)


def expect_telling(labels: Statistics | Targets) -> None:
    """Raise what is wrong with labels: TooFewSamples, EmptyClass, OneClass, ZeroVariance."""
    if isinstance(labels, Statistics):
        count, low, high = labels.count, labels.low, labels.high
    else:
        columns = labels.rows(0, len(labels))
        count, low, high = len(labels), columns.min(axis=0), columns.max(axis=0)
    if count < LEAST_SAMPLES:
        raise TooFewSamples(f"there is {count} sample; {LEAST_SAMPLES} are the least")
    if labels.task == "classification":
        empty = labels.classes[high == 0]
        if len(empty):
            raise EmptyClass(
                f"no sample has the label {', '.join(map(str, empty[:10]))}, {len(empty)} such of "
                f"{len(labels.classes)}; name only classes that occur, their absence would "
                "raise the score"
            )
        if len(labels.classes) < 2:
            raise OneClass(f"all {count} samples have the label {labels.classes[0]}")
    constant = np.flatnonzero(low == high)
    if len(constant):
        raise ZeroVariance(
            f"column {constant[0]} of the targets is {low[constant[0]]} in all {count} samples, "
            f"and {len(constant)} of {len(low)} columns are such; leave them out"
        )


def expect_varied(varies: bool, count: int) -> None:
    """ZeroVariance where all samples have the same features."""
    if not varies:
        raise ZeroVariance(f"all {count} samples have the same features; is the model broken?")
