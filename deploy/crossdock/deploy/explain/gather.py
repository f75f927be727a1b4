"""Finds the dumps of one job, and its ranks that live on this host."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crossdock.proxy import dump, presence
from crossdock.proxy.dump import Dump, DumpError, Wait
from crossdock.proxy.errors import ArgumentError

UNMET = "unmet"
"""What ranks that have not met all others call their job."""
_MEETING_S = 600.0
"""Dumps of ranks that have not met belong together when they are no further apart."""
_POLL_S = 0.05


@dataclass(frozen=True)
class Evidence:
    """All that is known of a job."""

    job: str
    size: int
    dumps: dict[int, Dump]
    """The dump of each rank that tells most."""
    live: dict[int, presence.Found] = field(default_factory=dict)
    """Ranks on this host whose process is there now."""
    unread: tuple[str, ...] = ()
    """What is wrong with files that could not be read."""
    others: tuple[str, ...] = ()
    """Jobs whose dumps were found, too."""


def gather(paths: Sequence[Path], job: str | None = None) -> Evidence:
    """The evidence of ``job``, or of the job of the latest dump.

    Raises:
        ArgumentError: no dump was found, or none of the job.
    """
    dumps: list[Dump] = []
    unread: list[str] = []
    for path in _files(paths):
        try:
            dumps.append(dump.read(path))
        except DumpError as error:
            unread.append(str(error))
    by_job: dict[str, list[Dump]] = {}
    for one in sorted(dumps, key=lambda d: d.state.wall_ns):
        by_job.setdefault(one.facts.job, []).append(one)
    if not by_job or (job is not None and job not in by_job):
        raise ArgumentError(_nothing(paths, job, sorted(by_job), unread))
    chosen = job or max(by_job, key=lambda name: by_job[name][-1].state.wall_ns)
    others = tuple(name for name in by_job if name != chosen)
    found = {rank.presence.rank: rank for rank in presence.ranks() if rank.presence.job == chosen}
    return evidence_of(by_job[chosen], found, tuple(unread), others)


def evidence_of(
    dumps: Iterable[Dump],
    live: dict[int, presence.Found] | None = None,
    unread: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
) -> Evidence:
    """The evidence in the dumps of one job."""
    sorted_dumps = sorted(dumps, key=lambda d: d.state.wall_ns)
    last = sorted_dumps[-1]
    by_rank: dict[int, list[Dump]] = {}
    for one in sorted_dumps:
        apart_s = (last.state.wall_ns - one.state.wall_ns) / 1e9
        if one.facts.job != UNMET or apart_s < _MEETING_S:
            by_rank.setdefault(one.facts.rank, []).append(one)
    best = {rank: _most_telling(by_rank[rank]) for rank in sorted(by_rank)}
    return Evidence(last.facts.job, last.facts.size, best, live or {}, unread, others)


def waits_of(one: Dump) -> list[Wait]:
    """The waits that go on; of a rank that failed the one that failed last."""
    going_on = [wait for wait in one.state.waits if not wait.ending]
    failed = [wait for wait in one.state.waits if wait.ending]
    if one.reason.kind == "error" and failed:
        return [max(failed, key=lambda wait: wait.ended_ns)]
    return going_on


def ask(pids: set[int], job: str | None, wait_s: float) -> tuple[list[Path], list[str]]:
    """Asks ranks of this host for a dump; where the dumps go, and what became of the question.

    Args:
        pids: the processes to ask; none for all that are ranks.
        job: only ranks of this job; None: of any.
        wait_s: how long to wait for the dumps.
    """
    found = presence.ranks(pids or None)
    said = [
        f"process {pid} is no rank that answers signals: left alone"
        for pid in sorted(pids - {rank.pid for rank in found})
    ]
    chosen = [rank for rank in found if job is None or rank.presence.job == job]
    asked: dict[int, presence.Found] = {}
    for rank in chosen:
        if not rank.answers:
            who = f"process {rank.pid}, rank {rank.presence.rank}"
            said.append(f"{who}, has no handler: left alone")
        elif rank.pid not in asked and rank.state == "running":
            asked[rank.pid] = rank
    since = time.time_ns()
    for pid, rank in asked.items():
        try:
            os.kill(pid, rank.presence.signal)
        except OSError as error:
            said.append(f"process {pid} cannot be asked: {error.strerror}")
    _await_files([rank for rank in chosen if rank.pid in asked], since, wait_s)
    return sorted({Path(rank.presence.directory) for rank in chosen}), said


def _await_files(ranks: Sequence[presence.Found], since_ns: int, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    missing = list(ranks)
    while missing and time.monotonic() < end:
        time.sleep(_POLL_S)
        missing = [rank for rank in missing if not _answered(rank, since_ns)]


def _answered(rank: presence.Found, since_ns: int) -> bool:
    here = rank.presence
    name = f"{here.job}-rank{here.rank:04d}-*-{here.pid}-*{dump.SUFFIX}"
    return any(_age(path) >= since_ns for path in Path(here.directory).glob(name))


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob(f"*{dump.SUFFIX}")) if path.is_dir() else [path]
    return files


def _nothing(paths: Sequence[Path], job: str | None, jobs: list[str], unread: list[str]) -> str:
    where = ", ".join(map(str, paths))
    if job is not None and jobs:
        return f"{where}: no dump of job {job}; there are dumps of {', '.join(jobs)}"
    advice = "send SIGUSR2 to the ranks, or use crossdock explain --all, to get some"
    return "\n".join([f"{where}: no dumps; {advice}", *unread])


def _most_telling(dumps: Sequence[Dump]) -> Dump:
    """What a rank does now, if it waits; else its first error: later ones are consequences."""
    newest = dumps[-1]
    errors = [one for one in dumps if one.reason.kind == "error"]
    if not errors or (newest.reason.kind != "error" and waits_of(newest)):
        return newest
    return next((one for one in errors if waits_of(one)), errors[0])
