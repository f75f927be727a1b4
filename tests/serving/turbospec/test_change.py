"""Changes of acceptance are seen soon, and seldom where there is none."""

import numpy as np
import pytest

from crossdock.serving.turbospec.change import Change
from crossdock.serving.turbospec.cost import Floats


def outcome(accepted: bool) -> tuple[Floats, Floats]:
    return np.array([[float(accepted)]]), np.array([[float(not accepted)]])


def drafts_until_seen(chance: float, estimate: float, seed: int, most: int) -> int:
    change, dice = Change(1), np.random.default_rng(seed)
    for count in range(1, most + 1):
        found = change.observe(*outcome(dice.random() < chance), np.array([[estimate]]))
        if found is not None:
            return count
    return most


@pytest.mark.parametrize(("chance", "estimate"), [(0.9, 0.2), (0.2, 0.9), (0.1, 0.6), (0.8, 0.4)])
def test_a_change_is_seen_within_few_drafts(chance: float, estimate: float) -> None:
    counts = [drafts_until_seen(chance, estimate, seed, 400) for seed in range(200)]
    assert np.median(counts) <= 20


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_where_nothing_changes_little_is_seen(chance: float) -> None:
    counts = [drafts_until_seen(chance, chance, seed, 1000) for seed in range(100)]
    assert np.median(counts) > 700


def test_what_was_counted_since_is_of_the_new_law() -> None:
    change, dice = Change(1), np.random.default_rng(1)
    for _ in range(500):
        change.observe(*outcome(dice.random() < 0.2), np.array([[0.2]]))
    found = None
    while found is None:
        found = change.observe(*outcome(True), np.array([[0.2]]))
    assert found[0].sum() > 2 * found[1].sum()


def test_some_accepted_drafts_raise_suspicion_first() -> None:
    change = Change(1)
    assert not change.suspected
    change.observe(*outcome(True), np.array([[0.1]]))
    assert change.suspected


def test_after_an_alarm_it_begins_anew() -> None:
    change = Change(1)
    assert change.observe(np.array([[50.0]]), np.array([[0.0]]), np.array([[0.1]])) is not None
    assert not change.suspected
