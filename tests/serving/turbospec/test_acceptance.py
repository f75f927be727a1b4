"""Estimates of acceptance, against outcomes of a known law."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.turbospec.plain import PlainAcceptance, class_of

from crossdock.serving._native import Groups
from crossdock.serving.turbospec import Verified
from crossdock.serving.turbospec.acceptance import Acceptance

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
        found = np.array(acceptance.of_requests(names))
    assert found[:8].mean() > 0.75
    assert found[8:].mean() < 0.4


def test_requests_that_are_alike_are_held_together() -> None:
    acceptance, dice = Acceptance(4, 400, 24), np.random.default_rng(5)
    names = [str(i) for i in range(16)]
    for _ in range(60):
        acceptance.observe(outcomes(dice, [[0.6]] * 16, 3))
        found = np.array(acceptance.of_requests(names))
    assert float(found.std()) < 0.05


def test_a_new_request_has_the_chance_of_all() -> None:
    acceptance, dice = Acceptance(4, 400, 24), np.random.default_rng(6)
    for _ in range(60):
        acceptance.observe(outcomes(dice, [[0.9]] * 4, 3))
    (found,) = acceptance.of_requests(["new"])
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
    assert acceptance.accepted == [2, 2]
    assert sum(acceptance.rejected) == 0


chances = st.floats(0.01, 0.99)


def survival(own: list[float], positions: list[float], every: float) -> np.ndarray:
    groups = Groups(np.array(own), np.array(positions), every)
    return groups.survival.reshape(len(groups.members), len(positions))


@given(st.lists(chances, min_size=1, max_size=9), st.lists(chances, min_size=1, max_size=8))
def test_survival_falls_with_position_and_rises_with_chance(
    own: list[float], positions: list[float]
) -> None:
    alive = survival(own, positions, 0.5)
    assert ((alive >= 0) & (alive <= 1)).all()
    assert (np.diff(alive, axis=1) <= 0).all()
    assert (np.diff(alive, axis=0) >= -1e-12).all()


@given(chances, st.lists(chances, min_size=1, max_size=8))
def test_a_request_like_all_has_the_chances_of_the_positions(
    mean: float, positions: list[float]
) -> None:
    assert survival([mean], positions, mean)[0] == pytest.approx(np.cumprod(positions))


@given(st.lists(chances, min_size=1, max_size=40))
def test_groups_are_of_one_class_each(own: list[float]) -> None:
    members = Groups(np.array(own), np.array([0.5]), 0.5).members
    assert members == [n for n in np.bincount([class_of(c) for c in own]) if n]


def test_columns_that_do_not_fit_are_refused() -> None:
    acceptance = Acceptance(4, 400, 24)
    for wrong in (Verified(["a"], [3], []), Verified(["a"], [-1], [0]), Verified(["a"], [3], [-1])):
        with pytest.raises(ValueError, match=r"neither must be below zero|1 requests have"):
            acceptance.observe(wrong)
    with pytest.raises(TypeError):
        acceptance.observe(Verified(["a"], [3], [None]))  # type: ignore[list-item]
    with pytest.raises(OverflowError):
        acceptance.observe(Verified(["a"], [3], [1 << 70]))
    assert acceptance.chance == 0.5


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 9),
    st.sampled_from((20.0, 400.0)),
    st.booleans(),
)
def test_it_is_what_plain_arithmetic_gives(
    seed: int, positions: int, memory: float, alike: bool
) -> None:
    dice = Random(seed)
    fast, plain = Acceptance(positions, memory, 24), PlainAcceptance(positions, memory, 24)
    names = [str(i) for i in range(30)]
    for step in range(50):
        here = dice.sample(names, dice.randrange(1, 30))
        drafts = [dice.randrange(1, positions + 3) for _ in here]
        most = positions if step % 20 < 12 else 1  # acceptance changes for all
        accepted = [dice.randrange(min(k, most) + 1) for k in drafts]
        fast.observe(Verified(here, drafts, accepted))
        plain.observe(here, drafts, accepted)
        if dice.random() < 0.1:
            fast.recall()
            plain.recall()
        groups = fast.groups(here, alike)
        expected = plain.survival(here, alike)
        assert groups.members == [members for members, _ in expected]
        assert groups.survival == pytest.approx(np.ravel([row for _, row in expected]), rel=1e-11)
        assert fast.chance == pytest.approx(plain.chance, rel=1e-11)
        assert fast.by_position() == pytest.approx(plain.by_position(), rel=1e-11)
        assert fast.suspected == (plain.sums[0] > 1)
