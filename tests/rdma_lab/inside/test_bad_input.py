"""What a NIC, its host or its peer cannot do is refused when ranks connect, on all of them."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.harness import RankContext, run_ranks
from tests.proxy.jobs import MIB, options
from tests.rdma_lab import guest

from crossdock.proxy import Communicator, rdma_connect
from crossdock.proxy.errors import PeerArgumentError, TransportError
from crossdock.proxy.rdma_contact import QueuePairs

MEMLOCK = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
FOREIGN = 5000  # added to the number of a queue pair
HEAP_BYTES = 64 * MIB


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    guest.await_none_registered()


def refused(
    context: RankContext, chosen: dict[str, Any], before: Callable[[], None] | None = None
) -> tuple[str, str]:
    """Builds with what rank 1 chooses; how it was refused on this rank."""
    mine = chosen if context.rank == 1 else {}
    if before is not None and context.rank == 1:
        before()
    kinds = (TransportError, PeerArgumentError)
    with pytest.raises(kinds) as caught:
        Communicator(context.exchange(), options(**({"transport": "verbs"} | mine)), main_bytes=MIB)
    return type(caught.value).__name__, str(caught.value)


def check_refusal(said: str, *args: Any) -> None:
    """The reason is the same on both ranks, and names the one that it is on."""
    (kind_0, text_0), (kind_1, text_1) = run_ranks(refused, 2, *args)
    assert (kind_0, kind_1) == ("PeerArgumentError", "TransportError")
    for text in (text_0, text_1):
        assert said in text
        assert "rank 1 cannot set up its NICs for verbs" in text


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"rdma_devices": "mlx5_7"}, "there is no RDMA device mlx5_7; there is rxe0, rxe1"),
        ({"rdma_devices": "rxe1:3"}, "RDMA device rxe1 has no port 3; its ports: 1 (ACTIVE)"),
        ({"rdma_gid_index": 77}, "rxe1:1 has no GID with index 77; its GIDs: 0 (roce-v2 fe80"),
        ({"rdma_roce_version": "v1"}, "rxe1:1 has no GID of RoCE v1; its GIDs: 0 (roce-v2 fe80"),
    ],
    ids=["device", "port", "GID", "RoCE version"],
)
def test_choice_that_is_not_there(chosen: dict[str, Any], said: str) -> None:
    check_refusal(said, {"rdma_devices": "rxe1"} | chosen)


def test_port_that_is_down() -> None:
    guest.link_down(1)
    try:
        check_refusal(
            "RDMA device rxe1 has no active port; its ports: 1 (DOWN)", {"rdma_devices": "rxe1"}
        )
        check_refusal(
            "port rxe1:1 is DOWN, not ACTIVE; is its link up?", {"rdma_devices": "rxe1:1"}
        )
    finally:
        guest.link_up(1)


def no_nic(context: RankContext) -> str:
    with pytest.raises((TransportError, PeerArgumentError)) as caught:
        Communicator(context.exchange(), options("verbs"), main_bytes=MIB)
    return str(caught.value)


def test_no_port_is_up() -> None:
    try:
        for nic in range(guest.nics()):
            guest.link_down(nic)
        texts = run_ranks(no_nic, 2)
    finally:
        for nic in range(guest.nics()):
            guest.link_up(nic)
    for text in texts:
        assert "needs an RDMA device with RC and an active port" in text
        assert "rxe0 (rc, port 1 DOWN), rxe1 (rc, port 1 DOWN)" in text


def no_such_service(context: RankContext) -> str:
    with pytest.raises((TransportError, PeerArgumentError)) as caught:
        Communicator(context.exchange(), options("efa", rdma_devices="rxe0"), main_bytes=MIB)
    return str(caught.value)


def test_nic_without_the_service() -> None:
    for text in run_ranks(no_such_service, 2):
        assert "rxe0:1 offers rc, but srd is needed" in text


@pytest.mark.skipif(MEMLOCK == resource.RLIM_INFINITY, reason="wants a limit of locked memory")
def test_memory_beyond_the_limit() -> None:
    """Run by a guest of its own, with ``--memlock``."""
    assert MEMLOCK < HEAP_BYTES
    said = f"this process may lock {MEMLOCK} bytes (RLIMIT_MEMLOCK): raise it with 'ulimit -l"
    check_refusal(said, {"heap_bytes": HEAP_BYTES})


# ---- what a peer says -------------------------------------------------------------------------


def foreign_queue_pairs() -> None:
    """This rank tells numbers that are not those of its queue pairs."""
    reach = rdma_connect.Connector._reach

    def wrong(self: rdma_connect.Connector, contacts: Any) -> QueuePairs:
        true = reach(self, contacts).numbers
        return QueuePairs(
            tuple({peer: tuple(n + FOREIGN for n in of[peer]) for peer in of} for of in true)
        )

    rdma_connect.Connector._reach = wrong  # type: ignore[method-assign]


def names_nic_of(rank: int, text: str) -> bool:
    """Whether it names a NIC of one of two ranks, which share the NICs of the guest evenly."""
    share = guest.nics() // 2
    own = [guest.address(nic) for nic in range(rank * share, (rank + 1) * share)]
    return any(f"of rank {rank} at GID ::ffff:{address}" in text for address in own)


def another_word() -> None:
    """This rank has another secret."""
    rdma_connect._word_of = lambda secret: 0xBAD


@pytest.mark.timeout(90)
def test_foreign_queue_pairs() -> None:
    (_, near), (_, far) = run_ranks(refused, 2, {"timeout_s": 6.0}, foreign_queue_pairs, timeout=60)
    assert "queue pair" in near
    assert names_nic_of(1, near)
    assert "rank 0 cannot prove its queue pairs" in near + far


def test_another_secret() -> None:
    texts = [text for _, text in run_ranks(refused, 2, {}, another_word)]
    assert all("a stranger is at the other end of queue pair" in text for text in texts)
    assert names_nic_of(1, texts[0])
    assert names_nic_of(0, texts[1])
