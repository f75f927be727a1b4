"""Ranks connect over loopback; whoever does not belong to the job is kept out."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossdock.proxy import tcp_connect
from crossdock.proxy.errors import ArgumentError, DeadlineExceeded, TransportError
from crossdock.proxy.tcp_connect import Listener, Sockets, connect_all
from crossdock.proxy.tcp_handshake import Handshake, Link, Refused, answer, call

SECRET = bytes(range(32))
LIMIT_S = 20.0
HELLO_BYTES = 56


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Listener(address="127.0.0.1")) for _ in range(4)]


def connect(
    listeners: list[Listener],
    rank: int,
    ranks: int,
    *,
    secret: bytes = SECRET,
    endpoints: int = 1,
    connections: int = 1,
    limit_s: float = LIMIT_S,
) -> Sockets:
    addresses = {peer: listeners[peer].address for peer in range(ranks)}
    peers = [peer for peer in range(ranks) if peer != rank]
    deadline = time.monotonic() + limit_s
    return connect_all(
        listeners[rank], rank, addresses, peers, secret, endpoints, connections, deadline
    )


def take(sockets: Sockets, endpoint: int, peer: int, connection: int = 0) -> socket.socket:
    return socket.socket(fileno=sockets[endpoint][peer][connection])


def close_all(sockets: Sockets) -> None:
    for peers in sockets:
        for fds in peers.values():
            for fd in fds:
                os.close(fd)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_every_pair_is_connected_as_named(listeners: list[Listener]) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(connect, listeners, rank, 4, endpoints=2, connections=3)
            for rank in range(4)
        ]
        sockets = [job.result() for job in jobs]
    for rank in range(4):
        for endpoint in range(2):
            assert sorted(sockets[rank][endpoint]) == [p for p in range(4) if p != rank]
            for peer, fds in sockets[rank][endpoint].items():
                for connection, fd in enumerate(fds):
                    os.write(fd, bytes([rank, peer, endpoint, connection]))
    for rank in range(4):
        for endpoint in range(2):
            for peer, fds in sockets[rank][endpoint].items():
                for connection, fd in enumerate(fds):
                    assert os.read(fd, 4) == bytes([peer, rank, endpoint, connection])
    for each in sockets:
        close_all(each)


def test_only_the_handshake_is_read(listeners: list[Listener]) -> None:
    """The rank that listens may send its first frame together with its welcome."""
    with ThreadPoolExecutor(1) as pool:
        zero = pool.submit(connect, listeners, 0, 2)
        listeners[1].socket.setblocking(True)
        sock, _ = listeners[1].socket.accept()
        sock.settimeout(LIMIT_S)
        step = answer(SECRET, lambda _: None)
        hello_bytes = next(step)
        assert isinstance(hello_bytes, int)
        challenge = step.send(sock.recv(hello_bytes, socket.MSG_WAITALL))
        assert isinstance(challenge, bytes)
        sock.sendall(challenge)
        proof_bytes = next(step)
        assert isinstance(proof_bytes, int)
        welcome = step.send(sock.recv(proof_bytes, socket.MSG_WAITALL))
        assert isinstance(welcome, bytes)
        sock.sendall(welcome + b"frame" * 1000)
        sockets = zero.result()
    with take(sockets, 0, 1) as other, sock:
        sock.shutdown(socket.SHUT_WR)
        assert other.recv(6000, socket.MSG_WAITALL) == b"frame" * 1000


def hostile(listener: Listener) -> socket.socket:
    return socket.create_connection(listener.address, timeout=LIMIT_S)


def hello(lower: int, higher: int, endpoint: int = 0, connection: int = 0) -> bytes:
    return Link(lower, higher, endpoint, connection).hello()


def call_as(listener: Listener, link: Link, secret: bytes = SECRET) -> socket.socket:
    """A whole handshake on a socket of its own; raises when it is not completed."""
    sock = hostile(listener)
    try:
        handshake = Handshake(sock, call(link, secret), "test", 0.0)
        while handshake.link is None:
            handshake.go_on()
    except BaseException:
        sock.close()
        raise
    return sock


def test_hostile_clients_do_not_harm_the_job(
    listeners: list[Listener], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        one = pool.submit(connect, listeners, 1, 2, connections=2)
        garbage = stack.enter_context(hostile(listeners[1]))
        garbage.sendall(b"GET / HTTP/1.1\r\nHost: somebody.else\r\nAccept: everything\r\n\r\n")
        stalled = stack.enter_context(hostile(listeners[1]))
        stalled.sendall(hello(0, 1)[:20])
        truncated = hostile(listeners[1])
        truncated.sendall(hello(0, 1)[:-1])
        truncated.close()
        hostile(listeners[1]).close()
        with pytest.raises(Refused, match="secret"):
            call_as(listeners[1], Link(0, 1, 0, 0), secret=bytes(32))
        for impossible in [(0, 2), (5, 1), (1, 1), (0, 1, 7), (0, 1, 0, 2), (2**31, 1)]:
            with pytest.raises((Refused, ConnectionError)):
                call_as(listeners[1], Link(*[*impossible, 0, 0][:4]))
        with contextlib.suppress(ConnectionResetError):
            assert garbage.recv(1) == b"", "dropped"
        zero = pool.submit(connect, listeners, 0, 2, connections=2)
        ends = [zero.result(), one.result()]
    for fd in ends[0][0][1]:
        os.write(fd, b"x")
    assert [os.read(fd, 9) for fd in ends[1][0][0]] == [b"x", b"x"]
    for sockets in ends:
        close_all(sockets)
    messages = [record.getMessage() for record in caplog.records]
    for reason in ["does not speak", "closed the connection", "endpoint=7", "lower=2147483648"]:
        assert sum(reason in message for message in messages) == 1, (reason, messages)


def test_duplicate_is_refused_and_the_first_one_kept(listeners: list[Listener]) -> None:
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(connect, listeners, 1, 3)
        first = call_as(listeners[1], Link(0, 1, 0, 0))
        with pytest.raises((Refused, ConnectionError)):
            call_as(listeners[1], Link(0, 1, 0, 0))
        deadline = time.monotonic() + LIMIT_S
        two = connect_all(listeners[2], 2, {}, [1], SECRET, 1, 1, deadline)
        sockets = one.result()
    with take(sockets, 0, 0) as sock, take(sockets, 0, 2), first:
        first.sendall(b"first")
        assert sock.recv(5) == b"first"
    close_all(two)


def test_wrong_listener_is_not_trusted(listeners: list[Listener]) -> None:
    """Somebody else listens at the address of rank 1 and does not know the secret."""
    files = open_files()
    with ThreadPoolExecutor(1) as pool:
        zero = pool.submit(connect, listeners, 0, 2, limit_s=1.0)
        listeners[1].socket.setblocking(True)
        listeners[1].socket.settimeout(LIMIT_S)
        sock, _ = listeners[1].socket.accept()
        with sock:
            sock.settimeout(LIMIT_S)
            assert len(sock.recv(HELLO_BYTES, socket.MSG_WAITALL)) == HELLO_BYTES
            sock.sendall(bytes(64))
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b"", "nothing is proved to a stranger"
        with pytest.raises(DeadlineExceeded) as caught:
            zero.result()
    assert caught.value.missing == (1,)
    assert open_files() == files


def test_proof_of_one_side_is_no_proof_of_the_other() -> None:
    """A connector that only reflects what the listener sent is refused."""
    step = answer(SECRET, lambda _: None)
    assert next(step) == HELLO_BYTES
    challenge = step.send(hello(0, 1))
    assert isinstance(challenge, bytes)
    assert next(step) == 32
    with pytest.raises(Refused, match="secret"):
        step.send(challenge[32:])


@pytest.mark.parametrize("place", [8, 12, 16, 20, 24, 55])
def test_proof_binds_the_whole_hello(place: int) -> None:
    caller = call(Link(0, 1, 0, 0), SECRET)
    said = next(caller)
    assert isinstance(said, bytes)
    changed = bytearray(said)
    changed[place] ^= 1
    listener = answer(SECRET, lambda _: None)
    next(listener)
    challenge = listener.send(bytes(changed))
    assert isinstance(challenge, bytes)
    next(caller)
    with pytest.raises(Refused, match="secret"):
        caller.send(challenge)


def test_deadline_names_who_is_missing(listeners: list[Listener]) -> None:
    files = open_files()
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(connect, listeners, rank, 4, limit_s=0.7) for rank in (0, 1, 2)]
        errors = [job.exception() for job in jobs]
    for error in errors:
        assert isinstance(error, DeadlineExceeded)
        assert error.missing == (3,)
        assert "[3]" in str(error)
    assert open_files() == files


def test_late_rank_is_waited_for_and_retried() -> None:
    """Rank 1 does not even listen yet when rank 0 first calls it."""
    with Listener(address="127.0.0.1") as mine, Listener(address="127.0.0.1") as gone:
        address = gone.address
        gone.close()
        with ThreadPoolExecutor(1) as pool:
            deadline = time.monotonic() + LIMIT_S
            zero = pool.submit(connect_all, mine, 0, {1: address}, [1], SECRET, 1, 1, deadline)
            time.sleep(0.2)
            with Listener(address="127.0.0.1") as late:
                late.socket.close()
                late.socket = socket.create_server(address)
                late.socket.setblocking(False)
                one = connect_all(late, 1, {}, [0], SECRET, 1, 1, deadline)
            close_all(zero.result())
            close_all(one)


def test_crowd_of_silent_clients_does_not_keep_ranks_out(
    listeners: list[Listener],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tcp_connect, "_CLIENTS_MAX", 8)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        for _ in range(40):
            stack.enter_context(hostile(listeners[1]))
        begin = time.monotonic()
        jobs = [pool.submit(connect, listeners, rank, 2) for rank in range(2)]
        for job in jobs:
            close_all(job.result())
        assert time.monotonic() - begin < 4.0
    assert "too many clients" in caplog.text


def test_silent_client_is_dropped_in_time(
    listeners: list[Listener],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tcp_connect, "_CLIENT_LIMIT_S", 0.2)
    with ThreadPoolExecutor(1) as pool, hostile(listeners[1]) as silent:
        one = pool.submit(connect, listeners, 1, 2, limit_s=3.0)
        begin = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - begin < 2.0
        close_all(connect(listeners, 0, 2))
        close_all(one.result())
    assert "did not prove itself within 0.2 s" in caplog.text


def test_next_job_uses_the_same_listeners(listeners: list[Listener]) -> None:
    for _ in range(5):
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(connect, listeners, rank, 3) for rank in range(3)]
            for job in jobs:
                close_all(job.result())


def test_descriptors_are_not_inherited(listeners: list[Listener]) -> None:
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(connect, listeners, rank, 2) for rank in range(2)]
        for job in jobs:
            assert not any(os.get_inheritable(fd) for fd in next(iter(job.result()[0].values())))
            close_all(job.result())


@pytest.mark.parametrize(
    ("rank", "peers", "secret", "endpoints", "connections", "message"),
    [
        (0, [1], b"short", 1, 1, "5 bytes, not 32"),
        (0, [0], SECRET, 1, 1, "rank 0 cannot connect"),
        (0, [-1], SECRET, 1, 1, "cannot connect"),
        (0, [1, 9], SECRET, 1, 1, r"\[9\]"),
        (0, [1], SECRET, 0, 1, "0 endpoints"),
        (0, [1], SECRET, 1, 0, "0 connections"),
    ],
)
def test_arguments_are_checked(
    listeners: list[Listener],
    rank: int,
    peers: list[int],
    secret: bytes,
    endpoints: int,
    connections: int,
    message: str,
) -> None:
    addresses = {1: listeners[1].address}
    with pytest.raises(ArgumentError, match=message):
        connect_all(listeners[0], rank, addresses, peers, secret, endpoints, connections, 0.0)


def test_no_peers_need_no_time(listeners: list[Listener]) -> None:
    assert connect_all(listeners[0], 0, {}, [], SECRET, 2, 1, 0.0) == [{}, {}]


def test_address_of_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    with Listener(interface="lo") as listener:
        assert listener.address[0] == "127.0.0.1"
        assert listener.socket.getsockname() == listener.address
    with Listener(toward="127.0.0.1") as listener:
        assert listener.address[0] == "127.0.0.1"
        assert listener.socket.getsockname()[0] == "0.0.0.0"
    monkeypatch.setenv("CROSSDOCK_TCP_INTERFACE", "lo")
    with Listener() as listener:
        assert listener.socket.getsockname()[0] == "127.0.0.1"
    monkeypatch.setenv("CROSSDOCK_TCP_ADDRESS", "127.0.0.2")
    with Listener() as listener:
        assert listener.address[0] == "127.0.0.2"


def test_default_address_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CROSSDOCK_TCP_INTERFACE", "CROSSDOCK_TCP_ADDRESS", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with Listener() as listener, hostile(listener):
        pass


def test_bad_addresses_are_named() -> None:
    with pytest.raises(TransportError, match="nosuch0"):
        Listener(interface="nosuch0")
    with pytest.raises(TransportError, match=r"192\.0\.2\.1"):
        Listener(address="192.0.2.1")
    with pytest.raises(TransportError, match="CROSSDOCK_TCP_ADDRESS"):
        Listener(toward="no.such.host.invalid")


def test_hello_has_a_fixed_layout() -> None:
    assert hello(1, 2, 3, 4)[8:24] == struct.pack("<IIII", 1, 2, 3, 4)
    assert hello(1, 2) != hello(1, 2), "each has a nonce of its own"
