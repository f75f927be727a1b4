"""The stock verbs programs, in the guest: a server on one NIC, a client on another."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rdma_lab import guest

SERVER_S_MAX = 10.0
CLIENT_S_MAX = 60.0
STATUS_LATE = 124
POLLING_PINGPONG = ("ibv_rc_pingpong", "-g", "1")
PINGPONG = (*POLLING_PINGPONG, "-e")  # sleeps until there is a completion


@dataclass(frozen=True)
class Outcome:
    """What a client ended with, what it said, and how long it took."""

    status: int
    said: str
    seconds: float


def pingpong(
    rounds: int, size: int = 4096, nics: tuple[int, int] = (0, 1), seconds: float = CLIENT_S_MAX
) -> Outcome:
    """``ibv_rc_pingpong`` with completion events; 124 is the status of one that took too long."""
    return exchange(PINGPONG, rounds, size, nics, seconds)


def exchange(
    program: Sequence[str], count: int, size: int, nics: tuple[int, int], seconds: float
) -> Outcome:
    """Runs a program as server and as client for a number of messages of a size."""
    port = free_port()
    common = [*program, "-n", str(count), "-s", str(size), "-p", str(port), "-d"]
    client = [*common, f"rxe{nics[1]}", guest.address(nics[0])]
    with _serving([*common, f"rxe{nics[0]}"], port):
        began = time.perf_counter()
        process = subprocess.Popen(
            client, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            return Outcome(STATUS_LATE, said, time.perf_counter() - began)
        return Outcome(process.returncode, said, time.perf_counter() - began)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _serving(server: Sequence[str], port: int) -> Iterator[None]:
    """A server that listens, for the length of a block; killed if it is still there then."""
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_listener(process, port)
        yield
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    finally:
        process.kill()
        process.wait()


def _await_listener(process: subprocess.Popen[bytes], port: int) -> None:
    """Connecting to see would be taken for the client: the kernel's table of sockets tells."""
    deadline = time.monotonic() + SERVER_S_MAX
    while not _listens(port):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {process.args!r}")
        if time.monotonic() > deadline:
            raise guest.LabTimeout(f"nothing listens on port {port} in {SERVER_S_MAX:g} s")
        time.sleep(0.02)


def _listens(port: int) -> bool:
    tables = (Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6"))
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        for table in tables
        for line in table
    )
