"""The dump of a rank that met not all others: there is no communicator yet that could tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from crossdock.proxy import dump, dump_files, recording
from crossdock.proxy.errors import DeadlineExceeded
from crossdock.proxy.options import Options

JOB = "unmet"
"""Ranks that have not met share no name."""
_log = logging.getLogger(__name__)


def tell(error: DeadlineExceeded, rank: int, size: int, what: str, waited_s: float) -> None:
    """Writes the dump, and says in the error where it is."""
    try:
        made = dump.Dump(
            format=dump.FORMAT,
            facts=recording.facts_of(rank, size, Options(), JOB),
            reason=recording.reason_of(error),
            state=_state(error.missing, what, waited_s),
            python=recording.python_state(),
        )
        recording.say_where(error, dump_files.save(made, dump.directory()))
    except Exception as problem:  # noqa: BLE001 - the error matters, its dump does not
        _log.warning("rank %d: no dump: %s", rank, problem)


def _state(missing: Sequence[int], what: str, waited_s: float) -> dump.State:
    now_ns = time.monotonic_ns()
    wait = dump.Wait(
        operation="meeting",
        what=what,
        thread=0,
        since_ns=max(0, now_ns - int(1e9 * waited_s)),
        deadline_ns=now_ns,
        ended_ns=now_ns,
        ending="deadline",
        counter=-1,
        expected=0,
        missing=tuple(dump.Missing(rank) for rank in missing),
    )
    return dump.State(
        wall_ns=time.time_ns(),
        monotonic_ns=now_ns,
        epoch=0,
        fault=None,
        operation=dump.Operation("meeting", 1, 0),
        waits=(wait,),
        rings=(),
        peers=(),
    )
