"""Ranks on this host, started by torchrun's own agent in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from typing import Any

import psutil  # type: ignore[import-untyped]
from torch.distributed import run as torch_run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import elastic_launch

from crossdock.decompile.cluster.assignment import MODULE, Assignment
from crossdock.decompile.cluster.ending import Run
from crossdock.decompile.cluster.watching import POLL_S, Watch
from crossdock.decompile.dynamo.channel import Channel
from crossdock.deploy.decompile.job import Job

SHUTDOWN_S = 10
"""From SIGTERM to SIGKILL, of the ranks that are left when one has failed."""
_LOCALHOST = "127.0.0.1"


def launch(job: Job, run: Run, watch: Watch, channel: Channel) -> None:
    """Run the job to its end; what it was goes into ``run``.

    Raises:
        KeyboardInterrupt: it was interrupted; the ranks have ended.
    """
    given = Assignment(folder=str(job.folder), host=_LOCALHOST, port=channel.port)
    os.environ.update(given.environment())
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_S))
    config, entrypoint, words = torch_run.config_from_args(_parsed(job))
    ended = threading.Event()
    guard = threading.Thread(
        target=_guard, args=(job, run, watch, ended), name="crossdock-watch", daemon=True
    )
    guard.start()
    try:
        elastic_launch(config=config, entrypoint=entrypoint)(*words)
        run.statuses.update(dict.fromkeys(range(job.ranks), 0))
    except ChildFailedError as error:
        run.statuses.update({rank: one.exitcode for rank, one in error.failures.items()})
    except SignalException as error:
        raise KeyboardInterrupt from error
    finally:
        ended.set()
        guard.join()
        watch.poll()


def _parsed(job: Job) -> Any:
    return torch_run.parse_args(_words(job))  # type: ignore[no-untyped-call]


def _words(job: Job) -> list[str]:
    """Torchrun's command line."""
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", f"--rdzv-id={uuid.uuid4()}"]
    size = ["--nnodes=1", f"--nproc-per-node={job.ranks}", "--max-restarts=0"]
    return [*rendezvous, *size, "-m", MODULE, str(job.script), *job.arguments]


def _guard(job: Job, run: Run, watch: Watch, ended: threading.Event) -> None:
    """Watch beside the agent, and end ranks at the deadline."""
    until = time.monotonic() + job.deadline_s
    while not ended.wait(POLL_S):
        watch.poll()
        if time.monotonic() >= until and not run.hung:
            _end_hung(run, watch)


def _end_hung(run: Run, watch: Watch) -> None:
    """Kill what has not ended; the agent ends the others then."""
    left = [one for one in watch.members.values() if one.status is None]
    run.hung.update(one.rank for one in left)
    ours = {child.pid for child in psutil.Process().children(recursive=True)}
    pids = [one.pid for one in left if one.pid in ours]
    for pid in pids:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if not pids:  # none has come so far as to say who it is
        os.kill(os.getpid(), signal.SIGTERM)
