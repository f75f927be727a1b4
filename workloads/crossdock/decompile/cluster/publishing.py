"""A thread of each rank that tells what the rank compiles, and that it is alive.

Threads that compile only put into a queue; whatever happens to the store happens to this thread.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from crossdock.decompile.cluster import canonical, sources
from crossdock.decompile.cluster.assignment import Assignment
from crossdock.decompile.cluster.lines import files_of
from crossdock.decompile.cluster.messages import (
    BEAT,
    Beat,
    Began,
    Ended,
    Finished,
    Hello,
    Message,
    encode,
    encode_beat,
)
from crossdock.decompile.cluster.steps import Step, placed, root_of, step
from crossdock.decompile.dynamo.channel import Channel
from crossdock.decompile.dynamo.errors import StoreAbsent
from crossdock.decompile.dynamo.index import Line
from crossdock.decompile.dynamo.session import Session

BEAT_S = 0.5
SAVE_S = 0.2
"""Between two versions of the index, which a rank that is killed leaves."""
_log = logging.getLogger(__name__)


class Publisher:
    """Tells of one session. Nothing that goes wrong here reaches the program."""

    def __init__(self, session: Session, rank: int, assignment: Assignment) -> None:
        self._session = session
        self._rank = rank
        self._assignment = assignment
        self._parent = os.getppid()
        self._channel: Channel | None = None
        self._queue: queue.SimpleQueue[tuple[str, bool] | Ended] = queue.SimpleQueue()
        # No daemon: an interpreter that ends while a thread is in the store's C++ aborts.
        self._thread = threading.Thread(target=self._run, name="crossdock-decompile")
        self._main = threading.main_thread().ident
        self._beats = 0
        self._stood: tuple[object, float] = (None, time.monotonic())
        self._dirty = False
        self._saved = 0.0

    def start(self) -> None:
        """Begin to tell."""
        self._session.recorder.observe(self._observe)
        self._thread.start()

    def stop(self, status: int, reason: str = "") -> None:
        """Tell that the script has ended; the thread ends with that.

        It takes no longer than one answer of the store, even if that has stopped.
        """
        self._queue.put(Ended(rank=self._rank, status=status, reason=reason))
        self._thread.join()

    def _observe(self, compile_id: str, ended: bool) -> None:
        self._queue.put((compile_id, ended))

    def _run(self) -> None:
        try:
            given = self._assignment
            self._channel = Channel.connected(given.host, given.port, given.prefix)
            self._tell(Hello(rank=self._rank, host=socket.gethostname(), pid=os.getpid()))
        except StoreAbsent as error:
            self._lose(error)
        while True:
            try:
                item = self._queue.get(timeout=BEAT_S)
            except queue.Empty:
                item = None
            try:
                if isinstance(item, Ended):
                    self._tell(item)
                    return
                if item is not None:
                    self._publish(*item)
                self._save()
                self._beat()
                self._end_with_parent()
            except StoreAbsent as error:
                self._lose(error)
            except Exception as error:  # noqa: BLE001 - the program goes on without being watched
                _log.warning("A compilation of rank %d is not told: %r", self._rank, error)

    def _lose(self, error: StoreAbsent) -> None:
        _log.warning("Rank %d goes on without being watched: %s", self._rank, error)
        self._channel = None

    def _tell(self, message: Message) -> None:
        if self._channel is not None:
            self._channel.tell(encode(message))

    def _publish(self, compile_id: str, ended: bool) -> None:
        made = self._step(compile_id)
        if made is None:
            return
        if ended:
            self._dirty = True
            for file in files_of(made):
                if canonical.is_users(file):
                    sources.keep(self._session.folder, file)
            self._tell(Finished(rank=self._rank, step=made, digest=made.digest()))
        else:
            self._tell(Began(rank=self._rank, step=made))

    def _step(self, compile_id: str) -> Step | None:
        index = self._session.recorder.index
        for one, turn, position in placed(index):
            if one.compile_id == compile_id:
                return step(index, self._session.folder, one, root_of(index), turn, position)
        return None

    def _end_with_parent(self) -> None:
        """A rank does not outlive the process that was to report of it."""
        if self._assignment.supervised and os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGTERM)

    def _save(self) -> None:
        now = time.monotonic()
        if self._dirty and now - self._saved >= SAVE_S:
            self._session.recorder.save()
            self._dirty, self._saved = False, now

    def _beat(self) -> None:
        frame = sys._current_frames().get(self._main or 0)
        place = None if frame is None else (id(frame), frame.f_code, frame.f_lasti)
        now = time.monotonic()
        if place != self._stood[0]:
            self._stood = (place, now)
        self._beats += 1
        beat = Beat(
            count=self._beats,
            doing=_users_line(frame, str(self._session.folder)),
            inside="" if frame is None else frame.f_code.co_qualname,
            still_s=now - self._stood[1],
        )
        if self._channel is not None:
            self._channel.put(BEAT.format(self._rank), encode_beat(beat))


def _users_line(frame: FrameType | None, dump: str) -> Line | None:
    """The innermost line of a stack that is the user's own, not of the dump."""
    while frame is not None:
        file = frame.f_code.co_filename
        if canonical.is_users(file) and not file.startswith(dump) and Path(file).is_file():
            return Line(file=file, line=frame.f_lineno, function=frame.f_code.co_name)
        frame = frame.f_back
    return None
