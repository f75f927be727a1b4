"""Probes and their price."""

import numpy as np

from crossdock.serving.turbospec import Verified
from crossdock.serving.turbospec.chooser import Choices
from crossdock.serving.turbospec.exploration import Probes

CHOICES = Choices(
    tokens=np.full(5, 8.0),
    seconds=np.array([0.010, 0.011, 0.012, 0.013, 0.014]),
    drafts=np.zeros(5),
    goodput=np.full(5, 800.0),
    worth=np.full(5, 800.0),
)


def tokens_s(_: float, more: int) -> float:
    return 1e-4 * more


def probed(probes: Probes, length: int = 0, urgent: bool = False, count: int = 8) -> list[int]:
    """Drafts of each request; all as in the plan if there was no probe."""
    verify = np.full(count, length)
    longer = probes.probe(length, verify, CHOICES, tokens_s, urgent)
    assert longer is None or verify.max() == longer
    drafts: list[int] = verify.tolist()
    return drafts


def test_nothing_is_spent_before_it_is_saved() -> None:
    probes = Probes(4, 0.01)
    assert max(probed(probes)) == 0
    probes.pass_by(1.0)
    assert sorted(probed(probes)) == [0] * 7 + [2]


def test_probes_lose_their_share_of_time() -> None:
    probes, spent = Probes(4, 0.01), 0.0
    for _ in range(10_000):
        probes.pass_by(0.01)
        if max(probed(probes)):
            spent += 0.002 + tokens_s(0, 2)
    assert 0.9 < spent / 100.0 / 0.01 <= 1.0


def test_every_request_has_its_turn() -> None:
    probes = Probes(4, 0.5)
    probes.pass_by(10.0)
    assert np.sum([probed(probes) for _ in range(8)], axis=0).tolist() == [2] * 8


def test_a_long_calm_ends_in_no_burst() -> None:
    probes = Probes(4, 0.01)
    probes.pass_by(1e6)
    assert sum(max(probed(probes)) > 0 for _ in range(10_000)) * 0.0022 <= 0.25


def test_suspicion_is_paid_in_advance() -> None:
    probes = Probes(4, 0.01)
    assert max(probed(probes, urgent=True)) == 2
    assert sum(max(probed(probes, urgent=True)) > 0 for _ in range(1000)) * 0.0022 <= 0.1


def test_a_position_in_use_is_known() -> None:
    probes = Probes(4, 0.5)
    probes.pass_by(1.0)
    assert max(probed(probes, length=1)) == 3
    probes.saw(Verified(["a"], [3], [1]))
    assert max(probed(probes, length=1)) == 1
    probes.pass_by(5.0)
    assert max(probed(probes, length=1)) == 3


def test_the_longest_length_needs_no_probe() -> None:
    probes = Probes(4, 0.5)
    probes.pass_by(100.0)
    assert probed(probes, length=4) == [4] * 8


def test_without_a_share_there_are_none() -> None:
    probes = Probes(4, 0.0)
    probes.pass_by(100.0)
    assert max(probed(probes, urgent=True)) == 0
