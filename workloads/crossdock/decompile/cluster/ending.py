"""From what is known of each rank to the record of the run."""

from __future__ import annotations

import datetime
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crossdock.decompile.cluster import overview
from crossdock.decompile.cluster.members import Member
from crossdock.decompile.cluster.record import RankEnd, Record, State
from crossdock.decompile.cluster.watching import Watch
from crossdock.decompile.cluster.wording import listed


@dataclass
class Run:
    """A run while it goes on: what will be in its record."""

    folder: Path
    launcher: Literal["torchrun", "ray"]
    argv: Sequence[str]
    statuses: dict[int, int] = field(default_factory=dict)
    """Exit statuses of processes, by rank, as far as they are known."""
    hung: set[int] = field(default_factory=set)
    """Ranks that were ended at a deadline."""
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    started: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )

    def finish(self, watch: Watch) -> Record:
        """Complete what was gathered, compare it, and write the overview."""
        gathered = {rank: overview.complete(self.folder, rank) for rank in watch.members}
        found, notes = overview.compared(
            self.folder, [rank for rank, there in gathered.items() if there]
        )
        absent = [rank for rank, there in gathered.items() if not there]
        notes += [f"rank {rank} has left no dump" for rank in absent]
        record = Record(
            launcher=self.launcher,
            argv=list(self.argv),
            started=self.started,
            seconds=time.monotonic() - self.began,
            ranks=[self._end(one, gathered[one.rank]) for one in watch.members.values()],
            warned=watch.divergences,
            divergences=found,
            notes=self.notes + notes,
        )
        overview.write(record, self.folder)
        return record

    def _end(self, member: Member, gathered: bool) -> RankEnd:
        status = self.statuses.get(member.rank, member.status)
        state, why = self._ending(member, status)
        step = member.last
        return RankEnd(
            rank=member.rank,
            host=member.host,
            pid=member.pid,
            state=state,
            status=status,
            why=why,
            doing=member.doing,
            last=None if step is None else step.user,
            last_id="" if step is None else step.compile_id,
            last_file="" if step is None else step.file,
            gathered=gathered,
        )

    def _ending(self, member: Member, status: int | None) -> tuple[State, str]:
        """How a rank ended, as a word and in words.

        Args:
            member: what was heard of it.
            status: of its process, or else of its script; None if unknown.
        """
        if member.rank in self.hung:
            return "hung", "did not end before the deadline, and was ended"
        if status == 0:
            return "ended", "ended"
        culprits = failed(self.statuses)
        stopped = status is None or status == -signal.SIGTERM
        if stopped and (self.hung or culprits not in ([], [member.rank])):
            others = [rank for rank in culprits if self.statuses[rank] != -signal.SIGTERM]
            return "stopped", f"ended after {listed(others or sorted(self.hung) or culprits)}"
        if status is None:
            return "lost", "its end is not known"
        if status < 0:
            return "killed", f"killed by {_signal(-status)}"
        return "failed", member.reason or f"ended with status {status}"


def failed(statuses: Mapping[int, int]) -> list[int]:
    """The ranks whose processes did not end well."""
    return sorted(rank for rank, status in statuses.items() if status)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
