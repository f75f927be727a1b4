"""The independent peer: pyverbs in the interpreter of a virtual environment."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from tests.rdma_lab import guest, rc_peer
from tests.rdma_lab.rc_peer import DEPTH, RcPeer

LENGTH = 1 << 16
MESSAGES = 4000


@pytest.fixture
def pair() -> Iterator[tuple[RcPeer, RcPeer]]:
    near, far = rc_peer.pair(LENGTH)
    yield near, far
    near.close()
    far.close()


def test_only_pyverbs_comes_from_the_system() -> None:
    assert str(rc_peer.pyverbs("device").__file__).startswith(guest.pyverbs_path())
    assert "/usr/lib/python3/dist-packages" not in sys.path


def test_immediates_are_counted_once_each(pair: tuple[RcPeer, RcPeer]) -> None:
    near, far = pair
    into = far.name()
    received: list[int] = []
    posted = completed = 0
    while len(received) < MESSAGES:
        window = min(DEPTH // 2, MESSAGES - posted)
        far.receive(window)
        for imm in range(posted, posted + window):
            near.write(64, into.address, into.rkey, imm)
        posted += window
        while len(received) < posted:
            arrived = far.completions()
            assert all(entry.status == 0 for entry in arrived)
            received += [entry.imm_data for entry in arrived]
        while completed < posted:
            completed += len(near.completions())
    assert received == list(range(MESSAGES)), "an RC connection delivers in order, once"


def test_written_bytes_arrive(pair: tuple[RcPeer, RcPeer]) -> None:
    near, far = pair
    text = "crossdock " * 800
    near.mr.write(text, len(text))
    near.write(len(text), far.name().address, far.name().rkey)
    assert [entry.status for entry in near.completions()] == [0]
    assert far.mr.read(len(text), 0).decode() == text


def test_unregistered_key_is_a_remote_access_error(pair: tuple[RcPeer, RcPeer]) -> None:
    near, far = pair
    into = far.name()
    near.write(64, into.address, into.rkey ^ 0xFF)
    refused = rc_peer.pyverbs("enums").IBV_WC_REM_ACCESS_ERR
    assert [entry.status for entry in near.completions()] == [refused]
