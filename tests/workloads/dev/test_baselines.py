"""Each score against its formula, written another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from crossdock.workloads.dev import baselines


def predictions(n: int = 40, classes: int = 5, sharpness: float = 2.0) -> np.ndarray:
    logits = sharpness * np.random.default_rng(0).normal(size=(n, classes))
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def one_hot(labels: list[int], classes: int) -> np.ndarray:
    return np.eye(classes)[labels]


def test_source_risk_and_iwcv() -> None:
    assert baselines.source_risk(np.array([1.0, 2.0, 6.0])) == 3
    assert baselines.iwcv(np.array([2.0, 1.0, 0.0]), np.array([1.0, 2.0, 6.0])) == 4 / 3


def test_entropy() -> None:
    rows = predictions()
    expected = np.mean([scipy.stats.entropy(row) for row in rows])
    assert baselines.entropy(rows) == pytest.approx(expected, rel=1e-12)
    assert baselines.entropy(one_hot([0, 1, 2], 3)) == 0  # no NaN of 0 log 0


def test_infomax() -> None:
    rows = predictions()
    mean = rows.mean(axis=0)
    expected = np.mean([scipy.stats.entropy(row, mean) for row in rows])  # mean divergence
    assert baselines.infomax(rows) == pytest.approx(expected, rel=1e-12)
    assert baselines.infomax(one_hot([0, 1, 2, 3], 4)) == pytest.approx(math.log(4))
    assert baselines.infomax(one_hot([1, 1, 1, 1], 4)) == 0


def slow_snd(rows: np.ndarray, temperature: float) -> float:
    entropies = []
    for i, row in enumerate(rows):
        others = [other for j, other in enumerate(rows) if j != i]
        cosines = [row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in others]
        shares = np.exp(np.array(cosines) / temperature)
        entropies.append(scipy.stats.entropy(shares))
    return float(np.mean(entropies))


@pytest.mark.parametrize("block", [1 << 22, 100])
def test_snd(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_BLOCK_ELEMENTS", block)
    rows = predictions()
    for temperature in (0.05, 1.0):
        expected = slow_snd(rows, temperature)
        assert baselines.snd(rows, temperature) == pytest.approx(expected, rel=1e-10)


def test_snd_of_separate_clusters_is_the_entropy_within_them() -> None:
    rows = one_hot([0] * 5 + [1] * 5, 2)
    assert baselines.snd(rows) == pytest.approx(math.log(4), abs=1e-5)


def test_bnm() -> None:
    rows = predictions()
    expected = np.sqrt(np.linalg.eigvalsh(rows.T @ rows)).sum() / len(rows)
    assert baselines.bnm(rows) == pytest.approx(expected, rel=1e-10)
    assert baselines.bnm(one_hot([0, 1, 2, 3] * 4, 4)) == pytest.approx(4 * 2 / 16)
