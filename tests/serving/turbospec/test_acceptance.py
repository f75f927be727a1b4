"""Estimates of acceptance, against outcomes of a known law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.serving.turbospec import Verified
from crossdock.serving.turbospec.acceptance import CLASSES, Acceptance, classes_of, survival

Dice = np.random.Generator


def outcomes(dice: Dice, chances: list[list[float]], length: int, tag: str = "") -> Verified:
    """One step; the chances of each request by position."""
    accepted = []
    for own in chances:
        count = 0
        while count < length and dice.random() < own[min(count, len(own) - 1)]:
            count += 1
        accepted.append(count)
    names = [f"{tag}{i}" for i in range(len(chances))]
    return Verified(names, [length] * len(chances), accepted)


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("chance", [0.2, 0.8, 0.95])
def test_the_chance_is_found_whatever_the_length(chance: float, length: int) -> None:
    acceptance, dice = Acceptance(5, 400, 24), np.random.default_rng(1)
    for _ in range(200):
        acceptance.observe(outcomes(dice, [[chance]] * 8, length))
    assert acceptance.chance == pytest.approx(chance, abs=0.06)


def test_accepted_among_drafted_would_have_been_wrong() -> None:
    acceptance, dice = Acceptance(5, 4000, 24), np.random.default_rng(1)
    steps = [outcomes(dice, [[0.8]] * 8, 5) for _ in range(300)]
    for step in steps:
        acceptance.observe(step)
    share = sum(map(sum, (s.accepted for s in steps))) / sum(map(sum, (s.drafts for s in steps)))
    assert share == pytest.approx(0.54, abs=0.03)
    assert acceptance.chance == pytest.approx(0.8, abs=0.03)


def test_positions_have_their_own_chances() -> None:
    acceptance, dice = Acceptance(4, 2000, 24), np.random.default_rng(2)
    for _ in range(400):
        acceptance.observe(outcomes(dice, [[0.5, 0.9, 0.9, 0.3]] * 8, 4))
    assert acceptance.by_position() == pytest.approx([0.5, 0.9, 0.9, 0.3], abs=0.12)


def test_a_position_that_was_never_seen_has_the_chance_of_all() -> None:
    acceptance, dice = Acceptance(6, 400, 24), np.random.default_rng(3)
    for _ in range(200):
        acceptance.observe(outcomes(dice, [[0.7]] * 8, 2))
    assert acceptance.by_position()[5] == pytest.approx(acceptance.chance)


def test_requests_that_differ_are_told_apart() -> None:
    acceptance, dice = Acceptance(4, 400, 24), np.random.default_rng(4)
    chances = [[0.9]] * 8 + [[0.2]] * 8
    names = [str(i) for i in range(16)]
    for _ in range(60):
        acceptance.observe(outcomes(dice, chances, 3))
        found = acceptance.of_requests(acceptance.slots.of(names))
    assert found[:8].mean() > 0.75
    assert found[8:].mean() < 0.4


def test_requests_that_are_alike_are_held_together() -> None:
    acceptance, dice = Acceptance(4, 400, 24), np.random.default_rng(5)
    names = [str(i) for i in range(16)]
    for _ in range(60):
        acceptance.observe(outcomes(dice, [[0.6]] * 16, 3))
        found = acceptance.of_requests(acceptance.slots.of(names))
    assert float(found.std()) < 0.05


def test_a_new_request_has_the_chance_of_all() -> None:
    acceptance, dice = Acceptance(4, 400, 24), np.random.default_rng(6)
    for _ in range(60):
        acceptance.observe(outcomes(dice, [[0.9]] * 4, 3))
    (found,) = acceptance.of_requests(acceptance.slots.of(["new"]))
    assert found == pytest.approx(acceptance.chance)


def test_a_change_is_followed_within_few_drafts() -> None:
    acceptance, dice = Acceptance(4, 400, 24), np.random.default_rng(7)
    for _ in range(100):
        acceptance.observe(outcomes(dice, [[0.9]] * 4, 4))
    for _ in range(10):
        acceptance.observe(outcomes(dice, [[0.2]] * 4, 4))
    assert acceptance.chance < 0.4


def test_drafts_longer_than_foreseen_are_counted_as_far_as_foreseen() -> None:
    acceptance = Acceptance(2, 400, 24)
    acceptance.observe(Verified(["a", "b"], [5, 5], [5, 3]))
    assert acceptance.accepted.tolist() == [2, 2]
    assert acceptance.rejected.sum() == 0


chances = st.floats(0.01, 0.99)


@given(st.lists(chances, min_size=1, max_size=5), st.lists(chances, min_size=1, max_size=8))
def test_survival_falls_with_position_and_rises_with_chance(
    own: list[float], positions: list[float]
) -> None:
    alive = survival(np.sort(own), np.array(positions), 0.5)
    assert ((alive >= 0) & (alive <= 1)).all()
    assert (np.diff(alive, axis=1) <= 0).all()
    assert (np.diff(alive, axis=0) >= -1e-12).all()


@given(chances, st.lists(chances, min_size=1, max_size=8))
def test_a_request_like_all_has_the_chances_of_the_positions(
    mean: float, positions: list[float]
) -> None:
    alive = survival(np.array([mean]), np.array(positions), mean)
    assert alive[0] == pytest.approx(np.cumprod(positions))


def test_classes_are_ordered() -> None:
    found = classes_of(np.linspace(0.001, 0.999, 999))
    assert found[0] == 0
    assert found[-1] == CLASSES - 1
    assert (np.diff(found) >= 0).all()
