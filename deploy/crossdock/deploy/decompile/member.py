"""One rank of a torchrun that the user has started, on one host or several.

Each process of that torchrun starts the rank and outlives it. They tell each other through the
store of torchrun's agent; rank 0 watches, and has the folder of the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from crossdock.decompile.cluster import packing
from crossdock.decompile.cluster.assignment import Assignment, command, prepare, rank_folder
from crossdock.decompile.cluster.ending import Run, failed
from crossdock.decompile.cluster.errors import LaunchRefused, RankMissing
from crossdock.decompile.cluster.messages import STOP
from crossdock.decompile.cluster.record import Record
from crossdock.decompile.cluster.supervising import supervise
from crossdock.decompile.cluster.watching import POLL_S, Watch
from crossdock.decompile.dynamo.channel import PREFIX, Channel
from crossdock.decompile.dynamo.errors import StoreAbsent
from crossdock.deploy.decompile.job import Job, say

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
START_S = 60.0
"""For rank 0 to say where dumps go."""
GRACE_S = 5.0
"""After one rank has failed, for the others to end by themselves."""
TERMINATED_S = 15.0
"""To gather in, when torchrun ends this process; torchrun gives it 30 s."""
PIECE_BYTES = 1 << 20
TOKEN = ".run"
_RUN, _EXIT, _DUMP = "run", "exit/{}", "dump/{}"


def under_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether a torchrun has started this process."""
    return all(name in environment for name in VARIABLES) and "TORCHELASTIC_RUN_ID" in environment


def world_size(environment: Mapping[str, str]) -> int:
    """How many ranks that torchrun has."""
    return int(environment["WORLD_SIZE"])


class Member:
    """This process."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self._job = job
        self._rank = int(environment["RANK"])
        if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise LaunchRefused(
                "this torchrun has no store for its ranks to share;"
                " unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE, or give --rdzv-backend c10d"
            )
        self._address = (environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
        turn = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._prefix = f"{PREFIX}/{turn}"
        self._channel = Channel.connected(*self._address, self._prefix)
        self._terminated = threading.Event()

    def run(self) -> int:
        """The rank from its start to its end; gives its exit status."""
        with self._terminable():
            if self._rank == 0:
                return self._lead()
            token = self._wait_for_run()
            shared = _reads(self._job.folder / TOKEN) == token
            with tempfile.TemporaryDirectory(prefix="crossdock-decompile-") as own:
                status = self._supervise(self._job.folder if shared else Path(own))
                self._report(status, None if shared else rank_folder(Path(own), self._rank))
            return status

    def _supervise(self, folder: Path) -> int:
        host, port = self._address
        given = Assignment(
            folder=str(folder), host=host, port=port, prefix=self._prefix, supervised=True
        )
        return supervise(
            command(self._job.script, self._job.arguments),
            given.environment(),
            Path.cwd(),
            self._channel,
            self._terminated.is_set,
        )

    def _wait_for_run(self) -> str:
        until = time.monotonic() + START_S
        while (token := self._channel.get(_RUN)) is None:
            if time.monotonic() >= until or self._terminated.is_set():
                raise LaunchRefused(f"rank 0 has not begun within {START_S:.0f} s")
            time.sleep(POLL_S)
        return token

    def _report(self, status: int, folder: Path | None) -> None:
        """Send the dump, in pieces, and how it ended. A store that is gone is no harm."""
        with contextlib.suppress(StoreAbsent):
            packed = b"" if folder is None else packing.pack(folder)
            for begin in range(0, len(packed), PIECE_BYTES):
                self._channel.send(_DUMP.format(self._rank), packed[begin : begin + PIECE_BYTES])
            self._channel.put(_EXIT.format(self._rank), f"{status} {len(packed)}")

    def _lead(self) -> int:
        """As rank 0: run the own rank, watch all, gather."""
        from crossdock.deploy.decompile.run import report

        job = self._job
        prepare(job.folder)
        token = uuid.uuid4().hex
        (job.folder / TOKEN).write_text(token)
        self._channel.put(_RUN, token)
        watch = Watch(
            Channel.connected(*self._address, self._prefix), job.ranks, job.silence_s, say
        )
        run = Run(job.folder, "torchrun", sys.argv)
        gathering = _Gathering(self._channel, job, run, watch)
        thread = threading.Thread(target=gathering.loop, name="crossdock-watch", daemon=True)
        thread.start()
        status = self._supervise(job.folder)
        run.statuses[0] = status
        while thread.is_alive():
            thread.join(POLL_S)
            if self._terminated.is_set():
                gathering.hurry()
        record: Record = run.finish(watch)
        report(record, job.folder)
        return status

    @contextlib.contextmanager
    def _terminable(self) -> Iterator[None]:
        """What torchrun asks of this process is asked of the rank first."""
        previous = signal.signal(signal.SIGTERM, lambda *_: self._terminated.set())
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)


class _Gathering:
    """Rank 0's thread: hears all ranks until they have ended and their dumps are here."""

    def __init__(self, channel: Channel, job: Job, run: Run, watch: Watch) -> None:
        self._job, self._run, self._watch = job, run, watch
        self._channel = channel
        self._pieces: dict[int, list[bytes]] = {}
        self._until = time.monotonic() + job.deadline_s
        self._stopping = False
        self._hurried = False

    def hurry(self) -> None:
        """There is little time left."""
        if not self._hurried:
            self._hurried = True
            self._until = min(self._until, time.monotonic() + TERMINATED_S)

    def loop(self) -> None:
        try:
            while self._missing():
                self._watch.poll()
                for rank in self._missing() - {0}:
                    self._take(rank)
                if self._is_over():
                    return
                time.sleep(POLL_S)
            self._watch.poll()
        except StoreAbsent as error:
            self._run.notes.append(f"torchrun's store is gone, some ranks are not heard: {error}")

    def _missing(self) -> set[int]:
        return set(range(self._job.ranks)) - self._run.statuses.keys()

    def _take(self, rank: int) -> None:
        ended = self._channel.get(_EXIT.format(rank))
        if ended is None:
            return
        status, size = map(int, ended.split())
        self._run.statuses[rank] = status
        packed = b"".join(self._channel.take(_DUMP.format(rank)))
        if size == 0:
            return
        try:
            if len(packed) != size:
                raise RankMissing(f"of the dump of rank {rank}, {len(packed)} bytes of {size} came")
            packing.unpack(packed, rank_folder(self._run.folder, rank))
        except RankMissing as error:
            self._run.notes.append(str(error))

    def _is_over(self) -> bool:
        now = time.monotonic()
        if not self._stopping and failed(self._run.statuses):
            self._until = min(self._until, now + GRACE_S)
        if now < self._until:
            return False
        if self._stopping or self._hurried:
            return True
        if not failed(self._run.statuses):
            self._run.hung.update(self._missing())
        self._channel.put(STOP, "")
        self._stopping, self._until = True, now + self._job.gather_s
        return False


def take_part(job: Job) -> int:
    """Be the rank that torchrun's variables say; gives the status to exit with."""
    status = Member(job, os.environ).run()
    return 128 - status if status < 0 else status


def _reads(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
