"""Data for the bench of LogME: raw samples of classes, and a model whose features are scored.

The model is a layer of random weights and ReLU, which stands for one trained elsewhere: what is
timed does not depend on how good it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INPUTS = 256
NOISE = 3.0
_SEED = 7


@dataclass(frozen=True, eq=False)
class Data:
    """Samples, what a model makes of them, and their classes."""

    inputs: NDArray[np.float32]
    """(N, INPUTS)."""
    features: NDArray[np.float32]
    """(N, D)."""
    labels: NDArray[np.int64]
    """(N,)."""
    weights: NDArray[np.float32]
    """(INPUTS, D), of the model."""


def made(samples: int, dimension: int, classes: int, part: int = 0) -> Data:
    """Samples of a seed that is `part`, around the same centres and by the same model."""
    common = np.random.default_rng(_SEED)
    centres = common.normal(size=(classes, INPUTS)).astype(np.float32)
    weights = (common.normal(size=(INPUTS, dimension)) / INPUTS**0.5).astype(np.float32)
    dice = np.random.default_rng([_SEED, part])
    labels = np.concatenate([np.arange(min(classes, samples)), _rest(dice, samples, classes)])
    inputs = centres[labels] + NOISE * dice.standard_normal((samples, INPUTS), dtype=np.float32)
    return Data(inputs, np.maximum(inputs @ weights, 0), labels, weights)


def streamed(samples: int, dimension: int, classes: int, rows: int) -> Iterator[Data]:
    """So many samples in parts of `rows`, one at a time in memory."""
    for part, start in enumerate(range(0, samples, rows)):
        yield made(min(rows, samples - start), dimension, classes, part)


def _rest(dice: np.random.Generator, samples: int, classes: int) -> NDArray[np.int64]:
    """Labels beyond the first of each class, so that none is empty."""
    return dice.integers(0, classes, max(samples - classes, 0))
