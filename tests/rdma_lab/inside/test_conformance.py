"""Our endpoint against pyverbs, which speaks the protocol as PROTOCOL.md has it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from tests.rdma_lab import guest
from tests.rdma_lab.native_side import (
    LAYOUT,
    LEAVE,
    PEER,
    SWITCH,
    Ours,
    Theirs,
    attached,
    introduced,
    proved,
)
from tests.rdma_lab.rc_peer import DEPTH, pyverbs

from crossdock.proxy import _native
from crossdock.proxy.schema import Command, ImmediateKind, Op

MANY = 100_000
BATCH = 64
EACH = 64


@pytest.fixture
def strangers() -> Iterator[tuple[Ours, Theirs]]:
    """Two sides that do not know each other yet; in the end nothing is registered."""
    ours, theirs = Ours(), Theirs()
    yield ours, theirs
    ours.native.shut_down(-1)
    ours.close()
    theirs.close()
    guest.await_none_registered()


@pytest.fixture
def pair(strangers: tuple[Ours, Theirs]) -> tuple[Ours, Theirs]:
    """Two sides that are connected."""
    introduced(*strangers)
    proved(*strangers)
    attached(*strangers)
    return strangers


def add(value: int = 1, counter: int = 2) -> int:
    return LAYOUT.pack(ImmediateKind.ADD, 0, counter, value)


def awaited(met: object, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not met():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


# ---- what is sent ---------------------------------------------------------------------------


def test_a_write_of_ours_arrives_with_its_immediate(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    sizes = [16, 64, 80, 4096, 65536, 4096 * 3 + 16]
    rng = np.random.default_rng(7)
    ours.memory[:] = rng.integers(0, 256, ours.memory.size, dtype=np.uint8)
    at = 0
    for number, size in enumerate(sizes):
        ours.push(
            [Command(Op.WRITE_ADD, PEER, size, 0, at, 0, at + 32, counter=3, value=number + 1)]
        )
        theirs.until(lambda: len(theirs.immediates) == number + 1, "an immediate")  # noqa: B023
        assert theirs.peer.mr.read(size, at + 32) == ours.memory[at : at + size].tobytes()
        at += 80000
    assert [LAYOUT.unpack(word) for word in theirs.immediates] == [
        (ImmediateKind.ADD, 0, 3, number + 1, 0) for number in range(len(sizes))
    ]
    assert ours.native.await_fence(5.0).status == _native.WaitStatus.DONE


def test_each_operation_of_ours_has_its_immediate(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    ours.push(
        [
            Command(Op.WRITE, PEER, 64),
            Command(Op.ADD, PEER, counter=1, value=5),
            Command(Op.SEAL, PEER, counter=1, value=17),
            Command(Op.WRITE_SEAL, PEER, 64, counter=4, value=9),
            Command(Op.WRITE_SEQUENCED, PEER, 64),
            Command(Op.SIGNAL, PEER, counter=6, value=3),
        ]
    )
    theirs.until(lambda: len(theirs.immediates) == 5, "five immediates")
    assert [LAYOUT.unpack(word) for word in theirs.immediates] == [
        (ImmediateKind.ADD, 0, 1, 5, 0),
        (ImmediateKind.SEAL, 0, 1, 17, 0),
        (ImmediateKind.SEAL, 0, 4, 9, 0),
        (ImmediateKind.SEQUENCED, 0, 0, 0, 0),
        (ImmediateKind.SEQUENCED, 0, 6, 3, 1),
    ]


@pytest.mark.timeout(300)
def test_a_hundred_thousand_of_ours_arrive_once_in_order(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    values = [1 + n % 200 for n in range(MANY)]
    for first in range(0, MANY, 1000):
        batch = values[first : first + 1000]
        ours.push([Command(Op.WRITE_ADD, PEER, EACH, counter=3, value=value) for value in batch])
        seen = first + len(batch)
        theirs.until(lambda: len(theirs.immediates) == seen, f"immediate {seen}")  # noqa: B023
    assert [LAYOUT.unpack(word)[3] for word in theirs.immediates] == values
    assert ours.native.await_fence(5.0).status == _native.WaitStatus.DONE


# ---- what is received -----------------------------------------------------------------------


def test_a_write_of_theirs_is_there_when_it_is_counted(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    text = "crossdock " * 800
    theirs.peer.mr.write(text, len(text))
    theirs.write(add(7), len(text), offset=4096)
    ours.arrived(2, 7)
    assert bytes(ours.memory[4096 : 4096 + len(text)]).decode() == text
    assert ours.native.counter(PEER, 2) == (7, 0, False)


def test_a_seal_of_theirs_is_the_total(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    theirs.write(LAYOUT.pack(ImmediateKind.SEAL, 0, 5, 12))
    theirs.write(LAYOUT.pack(ImmediateKind.ADD, 0, 5, 12))
    ours.arrived(5, 12)
    assert ours.native.counter(PEER, 5) == (12, 12, True)


def test_a_signal_of_theirs_waits_for_what_comes_before(pair: tuple[Ours, Theirs]) -> None:
    """They send number 1, a signal, before number 0."""
    ours, theirs = pair
    theirs.write(LAYOUT.pack(ImmediateKind.SEQUENCED, 0, 6, 3, sequence=1))
    theirs.write(add())
    ours.arrived(2, 1)
    assert ours.native.counter(PEER, 6) == (0, 0, False)
    theirs.write(LAYOUT.pack(ImmediateKind.SEQUENCED, 0, 0, 0, sequence=0), 64)
    ours.arrived(6, 3)
    assert ours.native.fault()[0] == _native.FaultCode.NONE


def test_what_is_of_another_epoch_is_dropped(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    theirs.write(LAYOUT.pack(ImmediateKind.ADD, 15, 2, 50))
    theirs.write(add())
    ours.arrived(2, 1)
    assert ours.native.counter(PEER, 2) == (1, 0, False)
    assert ours.native.statistics(0)["late_dropped"] == 1


@pytest.mark.timeout(300)
def test_a_hundred_thousand_of_theirs_are_counted_once(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    for first in range(0, MANY, BATCH):
        for _ in range(min(BATCH, MANY - first)):
            theirs.write(add(), EACH)
        theirs.until(lambda: theirs.posted - theirs.acknowledged < DEPTH - BATCH, "completions")
    ours.arrived(2, MANY)
    theirs.until(lambda: theirs.posted == theirs.acknowledged, "the last completion")
    assert ours.native.counter(PEER, 2) == (MANY, 0, False)


# ---- mending ----------------------------------------------------------------------------------


def test_a_lane_is_mended_with_them(pair: tuple[Ours, Theirs]) -> None:
    """Their queue pair is down while ours sends: what they have not received comes again."""
    ours, theirs = pair
    theirs.write(add())
    ours.push([Command(Op.ADD, PEER, counter=1, value=n) for n in (1, 2, 3)])
    theirs.until(lambda: len(theirs.immediates) == 3, "what comes before")
    ours.arrived(2, 1)
    theirs.fail_and_reset()
    ours.push([Command(Op.WRITE_ADD, PEER, 64, counter=1, value=n) for n in (4, 5, 6)])
    theirs.connect(ours.gid, theirs.number, generation=1)
    theirs.say(SWITCH, generation=1, received=3)
    assert theirs.hear() == (SWITCH, 1, 0, -1, 1)
    theirs.until(lambda: len(theirs.immediates) == 6, "what comes again")
    assert [LAYOUT.unpack(word)[3] for word in theirs.immediates] == [1, 2, 3, 4, 5, 6]
    theirs.write(add())
    ours.arrived(2, 2)
    assert ours.native.peer_state(PEER)[0] == _native.PeerState.ALIVE


# ---- what is wrong ----------------------------------------------------------------------------


def test_a_key_that_is_wrong_harms_them_only(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    before = ours.memory.copy()
    theirs.into = (theirs.into[0], theirs.into[1] ^ 0xFF)
    theirs.write(add(), 64)
    theirs.until(lambda: bool(theirs.statuses), "an error")
    assert theirs.statuses[0] == pyverbs("enums").IBV_WC_REM_ACCESS_ERR
    assert np.array_equal(ours.memory, before)
    assert ours.native.counter(PEER, 2) == (0, 0, False)
    # Our side of the connection is broken as well: it is mended, or its peer is lost by name.
    ours.push([Command(Op.ADD, PEER, counter=1, value=1)])
    assert awaited(lambda: ours.native.peer_state(PEER)[0] == _native.PeerState.LOST)
    state, loss, _ = ours.native.peer_state(PEER)
    assert (state, loss) == (_native.PeerState.LOST, _native.Loss.NIC_FAILURE)
    assert ours.native.nic_failure(PEER).nic == "rxe0:1"


def test_a_foreign_queue_pair_is_refused(strangers: tuple[Ours, Theirs]) -> None:
    ours, theirs = strangers
    introduced(ours, theirs, foreign=7)
    (number,) = ours.host.queue_pairs(0, PEER)
    with pytest.raises(OSError, match=r"no (answer|word) over") as caught:
        proved(ours, theirs)
    told = str(caught.value)
    assert f"queue pair {number} of rxe0:1" in told
    assert f"queue pair {theirs.peer.qp.qp_num + 7} of rank {PEER} at GID" in told


def test_another_word_is_refused(strangers: tuple[Ours, Theirs]) -> None:
    introduced(*strangers)
    with pytest.raises(OSError, match="a stranger is at the other end of queue pair"):
        proved(*strangers, word=0xBAD)


def test_a_contact_without_keys_is_refused(strangers: tuple[Ours, Theirs]) -> None:
    ours, _ = strangers
    with pytest.raises(ValueError, match="contact of rank 1 names no NIC, too few keys"):
        ours.host.reach(PEER, [_native.RemoteNic()])


# ---- how they go ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blame", "state", "loss"),
    [
        (-1, _native.PeerState.LEFT, _native.Loss.NONE),
        (0, _native.PeerState.LOST, _native.Loss.ABORTED),
    ],
)
def test_goodbye_of_theirs_comes_after_what_they_sent(
    pair: tuple[Ours, Theirs], blame: int, state: object, loss: object
) -> None:
    ours, theirs = pair
    theirs.write(add(9))
    theirs.until(lambda: theirs.posted == theirs.acknowledged, "its completion")
    theirs.say(LEAVE, blame=blame)
    assert awaited(lambda: ours.native.peer_state(PEER)[0] != _native.PeerState.ALIVE)
    assert ours.native.peer_state(PEER)[:2] == (state, loss)
    assert ours.native.counter(PEER, 2) == (9, 0, False)


def test_their_death_is_the_end_of_the_socket(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    assert theirs.control is not None
    theirs.control.close()
    assert awaited(lambda: ours.native.peer_state(PEER)[0] == _native.PeerState.LOST, 2.0)
    assert ours.native.peer_state(PEER)[1] == _native.Loss.CONNECTION_CLOSED


def test_nonsense_on_the_control_channel_ends_it(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    theirs.say(77)
    assert awaited(lambda: ours.native.peer_state(PEER)[0] == _native.PeerState.LOST, 2.0)
    assert ours.native.peer_state(PEER)[1] == _native.Loss.BAD_FRAME


def test_goodbye_of_ours(pair: tuple[Ours, Theirs]) -> None:
    ours, theirs = pair
    ours.native.shut_down(-1)
    assert theirs.hear() == (LEAVE, 0, 0, -1, 0)
