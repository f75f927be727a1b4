"""Links that go down and come back, and what stays registered."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest
from tests.rdma_lab import guest
from tests.rdma_lab.rc_peer import RcPeer
from tests.rdma_lab.tools import pingpong


def network(nic: int) -> str:
    """Addresses, routes, neighbours and port addresses of a NIC, as the kernel states them."""
    stated = [
        ["ip", "-4", "-j", "addr", "show", f"nic{nic}"],
        ["ip", "-j", "route", "show", "table", str(1000 + nic)],
        ["ip", "-4", "-j", "neigh", "show", "dev", f"nic{nic}"],
        ["cat", f"/sys/class/infiniband/rxe{nic}/ports/1/gids/1"],
    ]
    return "\n".join(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in stated
    )


def test_port_follows_the_link_and_everything_comes_back() -> None:
    before = network(0)
    assert guest.port_state(0) == "ACTIVE"
    guest.link_down(0)
    try:
        assert guest.port_state(0) == "DOWN"
        assert guest.port_state(1) == "ACTIVE"
        assert network(0) != before, "a link that is down keeps its routes: the test sees nothing"
    finally:
        guest.link_up(0)
    assert guest.port_state(0) == "ACTIVE"
    assert network(0) == before
    assert pingpong(rounds=50).status == 0


def test_waiting_for_nothing_registered_is_bounded() -> None:
    peer = RcPeer(0, 4096)
    try:
        with pytest.raises(guest.LabTimeout):
            guest.await_none_registered(0.2)
    finally:
        peer.close()
    guest.await_none_registered()


def test_registered_counts_each_kind_and_falls_to_none() -> None:
    assert not guest.registered()
    peers = [RcPeer(nic % guest.nics(), 4096) for nic in range(3)]
    counted = guest.registered()
    assert counted == guest.Registered(pd=3, cq=3, qp=3, mr=3, srq=0)
    peers.pop().close()
    assert guest.registered() == guest.Registered(pd=2, cq=2, qp=2, mr=2, srq=0)
    for peer in peers:
        peer.close()
    assert not guest.registered()


def test_unknown_link_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nic99"):
        guest.link_down(99)


def test_devices_are_those_asked_for() -> None:
    links = json.loads(subprocess.check_output(["rdma", "-j", "link"], text=True))
    assert [link["ifname"] for link in links] == [f"rxe{nic}" for nic in range(guest.nics())]


def test_tcp_between_own_addresses_leaves_through_the_nics() -> None:
    before = guest.sent(0), guest.sent(1)
    with socket.create_server((guest.address(1), 0)) as server:
        near = socket.create_connection(
            server.getsockname(), timeout=5, source_address=(guest.address(0), 0)
        )
        far, _ = server.accept()
        with near, far:
            near.sendall(b"there")
            assert far.recv(5) == b"there"
    assert guest.sent(0) > before[0]
    assert guest.sent(1) > before[1]
