"""The communication stream of a Buffer and the events by which callers wait for it.

On a CPU device a stream is a thread that runs one operation after another. What is asked for
without ``async_finish`` runs in the caller's thread, after everything asked for before it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self, TypeVar

from crossdock.ep.outcomes import cut_short
from crossdock.proxy.errors import ArgumentError, CrossdockError, ForkedError

T = TypeVar("T")
_MOMENT_S = 0.05
"""For which another thread may have the stream without that it waits for somebody."""


def _nothing() -> None:
    pass


@contextlib.contextmanager
def _light_errors() -> Iterator[None]:
    """Errors keep the frames that they passed, and these the results under way. A caller that
    catches one because the heap is full shall have the room back when it calls again.
    """
    try:
        yield
    except CrossdockError as error:
        traceback.clear_frames(error.__traceback__)
        raise


class EventHandle:
    """A point in the work of a stream; without work behind it, one that has passed already."""

    def __init__(
        self, future: Future[object] | None = None, abort: Callable[[], None] = _nothing
    ) -> None:
        self._future = future
        self._abort = abort
        self._process = os.getpid()

    def current_stream_wait(self) -> None:
        """Wait for it. Raises what the operation raised, ForkedError in a forked child, which does
        not have the thread that would bring it about.
        """
        if self._future is not None:
            if os.getpid() != self._process and not self._future.done():
                raise ForkedError(
                    f"the event is of process {self._process}, from which this one was forked"
                )
            with cut_short(self._abort):
                self._future.result()

    def query(self) -> bool:
        """Whether it has passed."""
        return self._future is None or self._future.done()


class EventOverlap:
    """An event to wait for; used as a context manager, it is waited for at the end of the block."""

    def __init__(self, event: EventHandle | None = None, extra_tensors: object = None) -> None:
        self.event = event
        self.extra_tensors = extra_tensors
        """Kept alive until the event is gone."""

    def current_stream_wait(self, release_handle: bool = False) -> None:
        """Wait for the event, if there is one. Raises what the operation raised."""
        if self.event is not None:
            self.event.current_stream_wait()
        if release_handle:
            self.event = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.event is not None:
            self.event.current_stream_wait()


def expect_event(previous: object) -> EventOverlap | None:
    """``previous``, when it is something to wait for, or nothing."""
    if previous is None:
        return None
    if not isinstance(previous, EventOverlap):
        raise ArgumentError(
            f"previous_event is a {type(previous).__name__}, but must be an EventOverlap, as "
            "Buffer.capture() returns"
        )
    if not isinstance(previous.event, EventHandle | None):
        raise ArgumentError(
            f"previous_event holds a {type(previous.event).__name__}, but must hold an EventHandle"
        )
    return previous


class CommStream:
    """Runs operations in the order in which they were asked for.

    Args:
        abort: called when an operation, or the wait for one, is cut short, as by Ctrl-C.
        hold: returns what must outlive an operation, or raises when it is gone.
    """

    def __init__(
        self, abort: Callable[[], None] = _nothing, hold: Callable[[], object] = _nothing
    ) -> None:
        self._abort = abort
        self._hold = hold
        self._lock = threading.RLock()
        self._thread: ThreadPoolExecutor | None = None
        self._last: Future[object] | None = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Nothing that another thread asks for comes between what the block asks for. Ranks do the
        parts of an operation in one order, or each waits for a part that the other has not begun.
        """
        with self._lock, self._held():
            yield

    def run(self, operation: Callable[[], T], previous: EventOverlap | None = None) -> T:
        """Run now, after all that was asked for before."""
        with self._lock, cut_short(self._abort), _light_errors(), self._held():
            self.synchronize()
            if previous is not None:
                previous.current_stream_wait()
            return operation()

    def submit(
        self, operation: Callable[[], object], previous: EventOverlap | None = None
    ) -> EventOverlap:
        """Run in the stream's thread; the event passes when it is done."""

        # The frame of `ordered` lives as long as its error, and must not keep the operation alive.
        pending = [operation]

        def ordered() -> object:
            with cut_short(self._abort), _light_errors(), self._held():
                if previous is not None:
                    previous.current_stream_wait()
                return pending.pop()()

        with self._lock, self._held():
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="crossdock-comm")
            self._last = self._thread.submit(ordered)
            return EventOverlap(EventHandle(self._last, self._abort))

    def synchronize(self) -> None:
        """Wait until the stream's thread has nothing to do. Its errors belong to the events."""
        with self._lock:
            last = self._last
        if last is not None:
            with cut_short(self._abort):
                last.exception()

    def rests(self, grace_s: float) -> bool:
        """Whether nothing is under way. The thread has ``grace_s`` to end its work; a call of
        another thread has a moment, for whoever closes the stream meanwhile means it.
        """
        if not self._lock.acquire(timeout=_MOMENT_S):
            return False
        try:
            last = self._last
        finally:
            self._lock.release()
        return last is None or not wait([last], grace_s).not_done

    def close(self, patience_s: float | None = None) -> None:
        """Wait for all work, or no longer than ``patience_s``, and end the thread.

        What is still under way then goes on with what it holds; what has not begun is refused.
        """
        entered = self._lock.acquire(timeout=-1 if patience_s is None else patience_s)
        try:
            thread, self._thread = self._thread, None
            last = self._last
        finally:
            if entered:
                self._lock.release()
        if thread is not None and last is not None:
            thread.shutdown(wait=not wait([last], patience_s).not_done)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        keep = self._hold()
        try:
            yield
        finally:
            del keep
