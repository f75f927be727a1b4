"""A tiny task: three clusters as the source, two of them, moved, as the target."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossdock.workloads.partial_da import Domains, Method, Recipe, Task

CENTRES = np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])


def clusters(labels: np.ndarray, shift: float, seed: int) -> np.ndarray:
    """Points (n, 4) around the centres of their classes."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), 4))
    return np.asarray(CENTRES[labels] + 0.4 * noise + shift, np.float32)


def domains(**given: Any) -> Domains:
    """60 source, 30 validation, 40 target examples; the target lacks class 2."""
    near, held, far = np.arange(60) % 3, np.arange(30) % 3, np.arange(40) % 2
    settings: dict[str, Any] = {
        "source": clusters(near, 0.0, 0),
        "labels": near,
        "validation": clusters(held, 0.0, 1),
        "validation_labels": held,
        "target": clusters(far, 0.5, 2),
        "target_labels": far,
        "classes": np.array(["a", "b", "c"]),
    }
    return Domains(**{**settings, **given})


def recipe(**given: Any) -> Recipe:
    """Few steps, all parts of the loss from the third on."""
    settings: dict[str, Any] = {
        "steps": 8,
        "batch": 12,
        "learning_rate": 0.05,
        "head_factor": 2.0,
        "bottleneck": 6,
        "warm_up": 0.25,
        "estimate_every": 2,
        "check_every": 4,
    }
    return Recipe(**{**settings, **given})


def task(method: Method, **given: Any) -> Task:
    """Of these domains."""
    settings: dict[str, Any] = {"domains": domains(), "recipe": recipe(), "seed": 3}
    return Task(method=method, **{**settings, **given})
