"""Links that fail under traffic: it goes on, over another NIC or later, or ends with a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import run_ranks
from tests.rdma_lab import guest
from tests.rdma_lab.traffic import Failed, Ran, exchange, meanwhile

NEAR, FAR = "rxe0", "rxe1"
ONE_EACH = [NEAR, FAR]
TWO_EACH = ["rxe0,rxe2", "rxe1,rxe3"]
FOUR = pytest.mark.skipif(guest.nics() < 4, reason="needs four NICs")
MODES = pytest.mark.parametrize("threads", [0, 1])
# A lane is mended within this; what one processor adds is in it.
RECOVERY_S = 2.5


@pytest.fixture(autouse=True)
def links_back_and_nothing_left() -> Iterator[None]:
    yield
    for nic in range(guest.nics()):
        guest.clear_netem(nic)
        if guest.port_state(nic) != "ACTIVE":
            guest.link_up(nic)
    guest.await_none_registered()


def ran(mark: Path, devices: list[str], seconds: float, threads: int = 0) -> list[Ran]:
    """What both ranks did; that one of them failed is an error."""
    more = {"threads": threads, "mend_s": 10.0}
    found = run_ranks(exchange, 2, str(mark), devices, seconds, more, timeout=60)
    assert all(isinstance(one, Ran) for one in found), found
    return found


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "began"


@MODES
def test_traffic_goes_on_when_the_link_is_back(mark: Path, threads: int) -> None:
    steps = (2.0, lambda: guest.link_down(0)), (4.0, lambda: guest.link_up(0))
    with meanwhile(mark, *steps):
        found = ran(mark, ONE_EACH, 7, threads)
    for one in found:
        assert 1.0 < one.longest_s < 2.0 + RECOVERY_S, "a link that is down stops its traffic"


def test_link_that_stutters_loses_nothing(mark: Path) -> None:
    steps = [
        (2.0 + i, step)
        for i in range(4)
        for step in (lambda: guest.link_down(1), lambda: guest.link_up(1))
    ]
    with meanwhile(mark, *steps):
        found = ran(mark, ONE_EACH, 8)
    assert all(one.longest_s < RECOVERY_S for one in found), found


def test_link_that_stays_down_ends_with_the_name_of_the_peer(mark: Path) -> None:
    with meanwhile(mark, (2.0, lambda: guest.link_down(0))):
        near, far = run_ranks(exchange, 2, str(mark), ONE_EACH, 20, {"mend_s": 2.0}, timeout=60)
    assert isinstance(near, Failed)
    assert (near.kind, near.rank, near.nic) == ("NicFailed", 1, "rxe0:1"), near
    assert near.status == "PORT_DOWN", near
    assert near.after_s < 2.0 + RECOVERY_S
    assert isinstance(far, Failed)
    assert far.kind in ("CutOff", "PeerLost", "NicFailed"), far
    assert far.after_s < 2.0 + RECOVERY_S


@FOUR
@MODES
def test_lane_moves_to_the_other_nic(mark: Path, threads: int) -> None:
    seen: dict[str, list[int]] = {}

    def count(when: str) -> None:
        seen[when] = [guest.sent(nic) for nic in range(4)]

    # Whichever NICs the lane is on: first one of its rank's goes down, then the other instead.
    steps = [
        (2.0, lambda: guest.link_down(0)),
        (4.0, lambda: count("before")),
        (5.0, lambda: count("without 0")),
        (5.0, lambda: guest.link_up(0)),
        (5.5, lambda: guest.link_down(2)),
        (7.0, lambda: count("again")),
        (8.0, lambda: count("without 2")),
        (8.0, lambda: guest.link_up(2)),
    ]
    with meanwhile(mark, *steps):
        found = ran(mark, TWO_EACH, 9, threads)
    assert all(one.longest_s < RECOVERY_S for one in found), found
    assert seen["without 0"][2] - seen["before"][2] > 100, seen
    assert seen["without 2"][0] - seen["again"][0] > 100, seen


@pytest.mark.parametrize("devices", [ONE_EACH, pytest.param(TWO_EACH, marks=FOUR)])
def test_network_that_loses_everything_for_a_while(mark: Path, devices: list[str]) -> None:
    """No port goes down: only retries that are used up tell of it."""

    def lose(everything: bool) -> None:
        for nic in range(guest.nics()):
            if everything:
                guest.netem(nic, "loss 100%")
            else:
                guest.clear_netem(nic)

    steps = [(2.0, lambda: lose(everything=True)), (5.0, lambda: lose(everything=False))]
    with meanwhile(mark, *steps):
        found = ran(mark, devices, 9)
    for one in found:
        assert 2.0 < one.longest_s < 3.0 + 2 * RECOVERY_S, found
