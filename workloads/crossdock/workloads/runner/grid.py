"""The grid of a study, and names for its points."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

Point = Mapping[str, Any]
"""A place in a grid: what each axis is there."""


def grid(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """All points: the product of the axes, the last of them the fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def name_of(point: Point) -> str:
    """A key that says where it is, such as ``noise=0.1 seed=3``."""
    return " ".join(f"{name}={value}" for name, value in point.items())
