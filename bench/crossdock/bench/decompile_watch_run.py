"""One run of torchrun, plain or watched: how long it takes, and when it says what."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec
import psutil  # type: ignore[import-untyped]

from crossdock.bench.decompile_watch_rank import PARTING, Told, file_of
from crossdock.bench.errors import BenchFailed

_CROSSDOCK = "import sys; from crossdock.deploy.cli import main; sys.exit(main())"
_TORCHRUN = ("-m", "torch.distributed.run", "--nnodes=1", "--max-restarts=0")
_OF_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LINES_MAX = 100_000
_SHOWN = 60
"""Lines of a run that failed: torchrun puts twenty of its own behind a traceback."""
_TERM_S = 15.0


@dataclass(frozen=True)
class Ran:
    """What came of a run."""

    seconds: float
    """From the start of the command to its end."""
    ranks: list[Told]
    lines: list[tuple[float, str]] = field(default_factory=list)
    """Of the standard error, with the time at which each was read."""

    def warned_after(self) -> float | None:
        """Seconds from the end of the compilation in which ranks part to the warning.

        None if there was none before all ranks had ended.
        """
        parted = max(one.parted_at or 0.0 for one in self.ranks)
        ended = max(one.ended_at for one in self.ranks)
        said = (at for at, line in self.lines if f"(in {PARTING}," in line)
        at = next(said, None)
        return at - parted if at is not None and at < ended else None


def ran(
    script: Path, words: tuple[str, ...], ranks: int, folder: Path, deadline_s: float, watched: bool
) -> Ran:
    """Run the script to its end, with the folder as its first word.

    Args:
        script: of ``decompile_watch_rank``.
        words: for it, after the folder.
        ranks: on this host.
        folder: empty; for what the run leaves.
        deadline_s: for the whole.
        watched: by ``crossdock decompile run``, or by torchrun alone.

    Raises:
        BenchFailed: it failed, or took longer.
    """
    if watched:
        dump = f"--dir={folder / 'dump'}"
        start = ["-c", _CROSSDOCK, "decompile", "run", "--torchrun", f"--ranks={ranks}", dump]
    else:
        start = [*_TORCHRUN, "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
        start.append(f"--nproc-per-node={ranks}")
    command = [sys.executable, *start, str(script), str(folder), *words]
    begin = time.monotonic()
    with _started(command, folder) as process:
        lines, reader = _read(process)
        try:
            status = process.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            raise BenchFailed(f"a run has not ended in {deadline_s:g} s: {command}") from error
        seconds = time.monotonic() - begin
        reader.join(_TERM_S)
    files = [file_of(folder, rank) for rank in range(ranks)]
    if status or not all(file.exists() for file in files):
        last = " | ".join(line for _, line in lines[-_SHOWN:])
        raise BenchFailed(f"a run ended with status {status}: {last}")
    told = [msgspec.json.decode(file.read_bytes(), type=Told) for file in files]
    return Ran(seconds, told, lines)


@contextlib.contextmanager
def _started(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """With one thread for each rank, and nothing in Inductor's cache; it ends with the block."""
    kept = {name: value for name, value in os.environ.items() if name not in _OF_RANKS}
    own = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    process = subprocess.Popen(
        command,
        env={**kept, **own},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)
        process.wait()


def _end(process: subprocess.Popen[str]) -> None:
    """End a run and its ranks, which torchrun gives sessions of their own."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TERM_S)
    for one in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.kill()


def _read(process: subprocess.Popen[str]) -> tuple[list[tuple[float, str]], threading.Thread]:
    """The lines of its standard error, which a thread fills in as they come."""
    lines: list[tuple[float, str]] = []

    def read(stream: IO[str]) -> None:
        for line in stream:
            if len(lines) < _LINES_MAX:
                lines.append((time.monotonic(), line.rstrip()))

    thread = threading.Thread(target=read, args=(process.stderr,), daemon=True)
    thread.start()
    return lines, thread
