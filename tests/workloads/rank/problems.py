"""Features, labels and heads to be scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """N rows: features (N, D), labels (N,) of C classes, probabilities (N, Z)."""

    features: Floats
    labels: npt.NDArray[np.int64]
    probabilities: Floats
    classes: int

    @property
    def given(self) -> dict[str, Any]:
        """What ``summarise`` takes beside features and labels."""
        return {"classes": self.classes, "probabilities": self.probabilities}


def problem(
    seed: int = 0, rows: int = 240, width: int = 7, classes: int = 4, sources: int = 5
) -> Problem:
    """Classes apart in features of different scale, off the origin; a head that knows a little."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    rng.shuffle(labels)
    centres = rng.normal(size=(classes, width))
    mix = rng.normal(size=(width, width)) * rng.uniform(0.3, 3, width)
    features = (centres[labels] + rng.normal(size=(rows, width))) @ mix + rng.normal(size=width)
    logits = rng.normal(size=(classes, sources))[labels] + rng.normal(size=(rows, sources))
    probabilities = np.exp(logits)
    return Problem(features, labels, probabilities / probabilities.sum(1, keepdims=True), classes)


problems = st.builds(
    problem,
    seed=st.integers(0, 2**31),
    rows=st.integers(60, 300),
    width=st.integers(1, 12),
    classes=st.integers(2, 6),
    sources=st.integers(2, 8),
)
