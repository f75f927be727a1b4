"""The command `crossdock decompile`, as its users call it, and the lines of the program."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

PROGRAM = Path(__file__).with_name("program.py")
DEADLINE_S = 280.0
"""For a loaded machine; each takes seconds."""
_CALL = "import sys; from crossdock.deploy.cli import main; sys.exit(main())"


def line_of(mark: str) -> int:
    """The line of the program that ends with this comment."""
    rows = PROGRAM.read_text().splitlines()
    (number,) = [n for n, row in enumerate(rows, 1) if row.endswith(f"# {mark}")]
    return number


def place(mark: str) -> str:
    """The same with the file, as messages name it."""
    return f"{PROGRAM}:{line_of(mark)}"


def words(*arguments: object) -> list[str]:
    """The command line."""
    return [sys.executable, "-c", _CALL, "decompile", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Without torchrun's variables, and with one thread for each rank."""
    kept = {name: value for name, value in os.environ.items() if name != "RANK"}
    return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@contextlib.contextmanager
def begun(log: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start it, with all that it prints on standard error in a file; it ends with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=file,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield process
    finally:
        end_all(process.pid)
        process.wait()


def end_all(pid: int) -> None:
    """Kill a process and all that came of it; torchrun gives each rank a session of its own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@dataclass(frozen=True)
class Done:
    """What came of it."""

    status: int
    out: str
    err: str


def call(*arguments: object) -> Done:
    """Run it to its end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with begun(log, words(*arguments)) as process:
            out, _ = process.communicate(timeout=DEADLINE_S)
            return Done(process.returncode, out.decode(), log.read_text())


def wait_for_text(log: Path, text: str, process: subprocess.Popen[bytes]) -> str:
    """What the file holds when the text has come; the process must be alive then."""
    until = time.monotonic() + DEADLINE_S
    while text not in (found := log.read_text() if log.exists() else ""):
        assert process.poll() is None, found
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found
