"""The task of the command, in a worker that dies the first time."""

from __future__ import annotations

import os
import signal
from typing import Any

from crossdock.workloads.logme import command
from crossdock.workloads.runner import Value

SUMMED = command.summed


def summed(part: command.Part, labels: Any, task: Any) -> Value:
    """Killed in the middle of the file, unless it has been before."""
    killed = part.path.with_suffix(".killed")
    if part.start > 0 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return SUMMED(part, labels, task)
