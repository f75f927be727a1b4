"""Draws of digits: what a seed decides, and what shifts do."""

from __future__ import annotations

import numpy as np
import pytest

from crossdock.bench.partial_da.shifts import SHIFTS, domains, drawn


def test_a_seed_decides_pictures_and_classes_the_same_for_all_shifts() -> None:
    first, again = (domains(drawn("mild-noise", 3, 5)) for _ in range(2))
    assert np.array_equal(first.target, again.target)
    kept = drawn("mild-noise", 3, 5).kept
    assert len(kept) == 5
    assert sorted(set(first.target_labels.tolist())) == list(kept)  # type: ignore[union-attr]
    turned = domains(drawn("strong-rotation", 3, 5))
    assert np.array_equal(turned.source, first.source)
    assert np.array_equal(turned.target_labels, first.target_labels)  # type: ignore[arg-type]
    other = domains(drawn("mild-noise", 4, 5))
    assert not np.array_equal(other.source, first.source)
    assert drawn("mild-noise", 4, 5).kept != kept


@pytest.mark.parametrize("kind", ["rotation", "noise", "style"])
def test_strong_shifts_move_pictures_further_and_all_stay_in_range(kind: str) -> None:
    random = np.random.default_rng(0)
    images = random.random((20, 8, 8)) * (random.random((20, 8, 8)) > 0.5)
    moved = {
        how: SHIFTS[f"{how}-{kind}"](images, np.random.default_rng(1)) for how in ("mild", "strong")
    }
    far = {how: float(np.abs(one - images).mean()) for how, one in moved.items()}
    assert 0 < far["mild"] < far["strong"]
    for one in moved.values():
        assert one.shape == images.shape
        assert one.min() > -1e-9
        assert one.max() < 1 + 1e-9


def test_hyperparameters_were_set_on_other_target_classes() -> None:
    judged = {drawn("mild-noise", seed, 5).kept for seed in range(10)}
    assert not judged & {drawn("mild-noise", seed, 5).kept for seed in (1000, 1001, 1002)}
