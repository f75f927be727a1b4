"""Digits as a source with ten classes and a shifted target with some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, grey_dilation, rotate
from sklearn.datasets import load_digits

from crossdock.workloads.partial_da import Domains
from crossdock.workloads.partial_da.domains import split

CLASSES = 10
_LARGEST = 16.0
_SIDE = 8
_SOURCE_PART, _VALIDATION = 0.6, 0.25

Images = np.ndarray
Shift = Callable[[Images, np.random.Generator], Images]
"""Pictures (n, 8, 8) from 0 to 1 to shifted ones."""


def _rotated(degrees: float) -> Shift:
    def shift(images: Images, random: np.random.Generator) -> Images:  # noqa: ARG001
        return np.asarray(rotate(images, degrees, axes=(1, 2), reshape=False, order=1))

    return shift


def _noisy(deviation: float) -> Shift:
    def shift(images: Images, random: np.random.Generator) -> Images:
        return np.asarray(np.clip(images + deviation * random.normal(size=images.shape), 0, 1))

    return shift


def _styled(amount: float) -> Shift:
    """Thicker strokes, softer edges, less contrast on a grey ground, in proportion."""

    def shift(images: Images, random: np.random.Generator) -> Images:  # noqa: ARG001
        thick = grey_dilation(images, size=(1, 2, 2))
        soft = gaussian_filter(
            (1 - amount) * images + amount * thick, (0, 0.7 * amount, 0.7 * amount)
        )
        return np.asarray(0.35 * amount + (1 - 0.6 * amount) * soft)

    return shift


MILD = "mild"
"""How the names of shifts begin on which weights must tell classes apart."""
SHIFTS: Mapping[str, Shift] = {
    "mild-rotation": _rotated(8.0),
    "mild-noise": _noisy(0.25),
    "mild-style": _styled(0.3),
    "strong-rotation": _rotated(16.0),
    "strong-noise": _noisy(0.4),
    "strong-style": _styled(0.5),
}


@dataclass(frozen=True)
class Draw:
    """What a seed decides."""

    shift: str
    seed: int
    kept: tuple[int, ...]
    """Classes of the target."""


def drawn(shift: str, seed: int, classes: int) -> Draw:
    """The target's classes, by the seed: the same for all shifts."""
    random = np.random.default_rng((seed, classes))
    kept = random.choice(CLASSES, classes, replace=False)
    return Draw(shift, seed, tuple(sorted(int(one) for one in kept)))


def domains(draw: Draw) -> Domains:
    """Other pictures in each domain, and with each seed."""
    random = np.random.default_rng((draw.seed, len(draw.kept), 1))
    flat, digits = load_digits(return_X_y=True)
    images = (flat / _LARGEST).reshape(-1, _SIDE, _SIDE)
    source, target = np.split(random.permutation(len(images)), [round(_SOURCE_PART * len(images))])
    target = target[np.isin(digits[target], draw.kept)]
    shifted = SHIFTS[draw.shift](images[target], random)
    return split(
        images[source].reshape(len(source), -1).astype(np.float32),
        digits[source].astype(np.int64),
        np.arange(CLASSES),
        shifted.reshape(len(target), -1).astype(np.float32),
        digits[target].astype(np.int64),
        _VALIDATION,
        draw.seed,
    )
