"""What can only be found out by trying. Each probe raises OSError where it does not work."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

TIMEOUT_S = 5.0


def memfd() -> None:
    """Create anonymous shared memory and write to it."""
    with _anonymous_file() as descriptor:
        os.pwrite(descriptor, b"crossdock", 0)


def pidfd() -> None:
    """Open a descriptor of a process: it tells of the end of a peer without polling."""
    os.close(os.pidfd_open(os.getpid()))


def peer_memory() -> None:
    """Let another process of this user open shared memory through /proc/<pid>/fd.

    The other process is a child that opens a descriptor of its parent: that direction is the one
    that hardening forbids first.
    """
    with _anonymous_file() as descriptor:
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        program = f"import os; os.close(os.open({path!r}, os.O_RDWR))"
        run([sys.executable, "-I", "-S", "-c", program])


def loopback_round_trip_us() -> float:
    """Send a byte to this host over TCP and back."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=TIMEOUT_S) as near,
    ):
        server.settimeout(TIMEOUT_S)
        far, _ = server.accept()
        with far:
            far.settimeout(TIMEOUT_S)
            start_s = time.perf_counter()
            near.sendall(b"?")
            far.sendall(far.recv(1))
            near.recv(1)
            return (time.perf_counter() - start_s) * 1e6


def gpu_names() -> list[str]:
    """The GPUs that the driver shows; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    names = run([program, "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return names.splitlines()


@contextlib.contextmanager
def _anonymous_file() -> Iterator[int]:
    descriptor = os.memfd_create("crossdock-doctor")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def run(command: list[str]) -> str:
    """The output of a program; OSError with its last words where it fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not end within {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise OSError(words[-1] if words else f"{command[0]} exited with {done.returncode}")
    return done.stdout.strip()
