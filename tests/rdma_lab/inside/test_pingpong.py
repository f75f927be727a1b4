"""A stock verbs program between two NICs, undisturbed and under faults of the network."""

from __future__ import annotations

import pytest
from tests.rdma_lab import guest
from tests.rdma_lab.tools import pingpong


def test_pingpong_leaves_through_the_nics() -> None:
    before = guest.sent(0), guest.sent(1)
    done = pingpong(rounds=500)
    assert done.status == 0, done.said
    assert "500 iters" in done.said
    assert guest.sent(0) - before[0] >= 500
    assert guest.sent(1) - before[1] >= 500


# A reliable connection takes a packet out of order for a loss and waits a timeout out for it.
@pytest.mark.parametrize(
    ("faults", "rounds"),
    [("loss 1%", 600), ("delay 1ms 0.5ms reorder 25%", 30), ("duplicate 5%", 300)],
)
def test_pingpong_completes_under_faults(faults: str, rounds: int) -> None:
    with guest.disturbed(0, faults), guest.disturbed(1, faults):
        done = pingpong(rounds)
    assert done.status == 0, done.said
    assert f"{rounds} iters" in done.said


def test_netem_takes_and_clears() -> None:
    """A link that loses everything completes nothing, and the same link cleared does."""
    with guest.disturbed(0, "loss 100%"):
        assert pingpong(rounds=10, seconds=3).status != 0
    assert pingpong(rounds=10).status == 0
