"""Candidates for tests: what a model of some quality would say."""

from __future__ import annotations

import numpy as np

CLASSES, WIDTH = 3, 4


def arrays(
    seed: int = 0, quality: float = 3.0, source: int = 120, target: int = 90, held: int = 80
) -> dict[str, np.ndarray]:
    """A candidate as it lies in a file; the better, the higher the quality."""
    random = np.random.default_rng(seed)

    def domain(n: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = random.integers(0, CLASSES, n)
        logits = random.normal(size=(n, CLASSES)) + quality * np.eye(CLASSES)[labels]
        features = np.concatenate([logits, random.normal(size=(n, 1)) + shift], axis=1)
        odds = np.exp(logits)
        return features, odds / odds.sum(axis=1, keepdims=True), labels

    train, held_out, far = domain(source, 0), domain(held, 0), domain(target, 1)
    return {
        "source_train_features": train[0],
        "source_validation_features": held_out[0],
        "source_validation_probabilities": held_out[1],
        "source_validation_labels": held_out[2],
        "target_features": far[0],
        "target_probabilities": far[1],
        "target_labels": far[2],
    }
