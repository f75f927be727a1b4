"""A process that starts one rank, outlives it, and can end it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crossdock.decompile.cluster.messages import STOP
from crossdock.decompile.dynamo.channel import Channel
from crossdock.decompile.dynamo.errors import StoreAbsent

POLL_S = 0.1
ASK_S = 1.0
"""Between two looks whether the rank is to be ended."""
TERM_S = 5.0
"""From SIGTERM to SIGKILL."""


def supervise(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    channel: Channel | None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Run a rank to its end; gives its exit status, negative for a signal.

    Args:
        command: to start it with.
        environment: beside this process's own.
        folder: to start it in.
        channel: on which an end may be asked for; None where there is none.
        stopped: whether it was asked for otherwise.
    """
    asked = time.monotonic()
    with subprocess.Popen(command, env={**os.environ, **environment}, cwd=folder) as process:
        try:
            while process.poll() is None:
                now = time.monotonic()
                if channel is not None and now - asked >= ASK_S:
                    asked = now
                    try:
                        if channel.get(STOP) is not None:
                            break
                    except StoreAbsent:  # the rank goes on without it
                        channel = None
                if stopped():
                    break
                time.sleep(POLL_S)
        finally:
            _end(process)
        return process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TERM_S)
    if process.poll() is None:
        process.kill()
