"""One boot of a guest: the folder it shares with the host, its time limit, its end."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

BOOT = Path(__file__).parent / "boot"
STATUS_TIMED_OUT = 124
STATUS_NO_ANSWER = 125
NICS_MAX = 16
POLL_S = 0.03
END_S_MAX = 5.0
KERNEL_LOG_LINES = 30
# These describe the calling shell or the host's disk, not what the command is to see.
_NOT_PASSED = {"PWD", "OLDPWD", "SHLVL", "_", "TMPDIR"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class LabError(Exception):
    """The lab cannot do what it was asked for; the text says what to do."""


@dataclass(frozen=True)
class Job:
    """A command, and the guest it is to run in."""

    command: Sequence[str]
    nics: int = 2
    memlock: str = "unlimited"
    timeout_s: float = 600.0
    memory: str = "4G"
    cpus: int | None = None
    shares: Sequence[Path] = field(default_factory=tuple)


class Kernel(Protocol):
    """A kernel that is built: how it is booted."""

    name: str

    def boot(self, job: Job, shared: Path) -> list[str]:
        """The command line of the guest whose shared folder is `shared`."""

    def environment(self, job: Job) -> dict[str, str]:
        """What the host's process needs besides the environment of the caller."""


def run(kernel: Kernel, job: Job, verbose: bool = False) -> int:
    """Boots, runs, and returns the status of the command, 124 if late, 125 if none came back."""
    with _ending_on_signals(), tempfile.TemporaryDirectory(prefix="crossdock-lab.") as name:
        shared = Path(name).resolve()
        _fill(shared, kernel, job)
        late = _supervise(kernel, job, shared)
        status = shared / "status"
        answered = status.exists() and not late
        if verbose or not answered:
            _show_kernel_log(shared)
        if verbose:
            _show_boot_time(shared)
        if late:
            print(f"lab: ended after the limit of {job.timeout_s:g} s", file=sys.stderr)
            return STATUS_TIMED_OUT
        if not answered:
            print("lab: the guest ended without a status of the command", file=sys.stderr)
            return STATUS_NO_ANSWER
        return int(status.read_text())


def _fill(shared: Path, kernel: Kernel, job: Job) -> None:
    for script in ("guest", "init-uml"):
        shutil.copy(BOOT / script, shared / script)
    settings = {
        "nics": str(job.nics),
        "memlock": job.memlock,
        "directory": str(Path.cwd()),
    }
    (shared / "settings").write_text(_assignments(settings))
    passed = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_PASSED and _NAME.fullmatch(name)
    }
    passed["CROSSDOCK_LAB"] = kernel.name
    passed["CROSSDOCK_LAB_NICS"] = str(job.nics)
    (shared / "environment").write_text(_assignments(passed, "export "))
    (shared / "command").write_text(f"exec {shlex.join(job.command)}\n")
    (shared / "shares").write_text("".join(f"{share}\n" for share in job.shares))
    for stream in ("stdout", "stderr"):
        (shared / stream).touch()


def _assignments(values: dict[str, str], prefix: str = "") -> str:
    return "".join(f"{prefix}{name}={shlex.quote(value)}\n" for name, value in values.items())


def _supervise(kernel: Kernel, job: Job, shared: Path) -> bool:
    """Boots and forwards what the command prints; True if the time limit ended it."""
    deadline = time.monotonic() + job.timeout_s
    environment = {**os.environ, **kernel.environment(job)}
    # A guest must not survive this process, however that ends. To ask it is not enough: user-mode
    # Linux has been seen to spin for ever in its handler of TERM.
    tied = ["setpriv", "--pdeathsig", "KILL", "--", *kernel.boot(job, shared)]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((shared / "kernel.log").open("wb"))
        streams: list[tuple[IO[bytes], IO[bytes]]] = [
            (stack.enter_context((shared / "stdout").open("rb")), sys.stdout.buffer),
            (stack.enter_context((shared / "stderr").open("rb")), sys.stderr.buffer),
        ]
        guest = subprocess.Popen(
            tied,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        stack.callback(_end, guest)
        late = False
        while guest.poll() is None and not late:
            _forward(streams)
            time.sleep(POLL_S)
            late = time.monotonic() > deadline
        _end(guest)
        _forward(streams)
        return late


def _forward(streams: Sequence[tuple[IO[bytes], IO[bytes]]]) -> None:
    for source, sink in streams:
        if data := source.read():
            sink.write(data)
            sink.flush()


def _end(guest: subprocess.Popen[bytes]) -> None:
    """Asks the guest's process to end, then kills whatever is left of its process group."""
    if guest.poll() is None:
        guest.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            guest.wait(END_S_MAX)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Turns the signals that end a command into an exception, so that all is cleaned up."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_kernel_log(shared: Path) -> None:
    lines = (shared / "kernel.log").read_text(errors="replace").splitlines()
    for line in lines[-KERNEL_LOG_LINES:]:
        print(f"guest kernel: {line}", file=sys.stderr)


def _show_boot_time(shared: Path) -> None:
    booted = shared / "booted"
    if booted.exists():
        print(f"lab: command began {booted.read_text().strip()} s after boot", file=sys.stderr)
