"""The dumps of one communicator: on error, on demand, and when a signal asks for them."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import platform
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path

import msgspec

from crossdock.proxy import _native, bootstrap, dump, dump_files, presence
from crossdock.proxy.errors import (
    CrossdockError,
    CutOff,
    DeadlineExceeded,
    DestroyedError,
    PeerLost,
    ProtocolError,
)
from crossdock.proxy.options import NO_SIGNAL, Options

_CALLS_SHOWN = 12
_NAME = "crossdock-dump"
_UNASKED = (DestroyedError,)  # what the user has done himself needs no explanation
_log = logging.getLogger(__name__)


class Recording:
    """What can be told of a communicator, and who may ask for it."""

    def __init__(self, native: _native.Communicator, facts: dump.Facts, options: Options) -> None:
        self._native: _native.Communicator | None = native
        self._facts = facts
        self.directory = dump.directory(options.dump_dir)
        self._told: set[type[CrossdockError]] = set()
        self._number: int | None = None
        self._presence: int | None = None
        if options.dump_signal != NO_SIGNAL:
            # Errors are dumped all the same.
            with _logged(facts.rank, "no signal will bring a dump"):
                self._listen(signal.Signals[options.dump_signal])

    def state(self) -> dump.State:
        """What the native core knows now."""
        if self._native is None:
            raise DestroyedError(f"rank {self._facts.rank}: the communicator is destroyed")
        return msgspec.json.decode(_native.snapshot(self._native), type=dump.State)

    def save(self, path: Path | None = None, reason: dump.Reason | None = None) -> Path:
        """Writes a dump, into the directory where no path is given.

        Raises:
            DumpError: it cannot be written.
        """
        made = dump.Dump(
            format=dump.FORMAT,
            facts=self._facts,
            reason=reason or dump.Reason("demand"),
            state=self.state(),
            python=python_state(),
        )
        if path is None:
            return dump_files.save(made, self.directory)
        dump_files.save_as(made, path)
        return path

    def tell(self, error: CrossdockError) -> None:
        """Writes a dump for an error, once for each kind, and says in the error where it is."""
        if type(error) in self._told or isinstance(error, _UNASKED) or self._native is None:
            return
        self._told.add(type(error))
        with _logged(self._facts.rank, "no dump"):
            say_where(error, self.save(None, reason_of(error)))

    def close(self) -> None:
        """Nobody can ask any more. Idempotent."""
        self._native = None
        _recordings.discard(self)
        if self._number is not None:
            _native.DumpService.instance().remove(self._number)
            self._number = None
        if self._presence is not None:
            os.close(self._presence)
            self._presence = None

    def _listen(self, number: signal.Signals) -> None:
        if self._native is None:
            return
        service = _native.DumpService.instance()
        ours = service.start(number)
        if not ours:
            _log.info("%s has a handler of the application: it brings no dump", number.name)
        # Made here: the native core writes to it, and only there, when Python is silent.
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / f"{dump_files.stem(self._facts)}-silent{dump.SUFFIX}"
        facts = msgspec.json.encode(self._facts).decode()
        self._number = service.add(self._native, facts, str(path))
        here = presence.Presence(
            pid=os.getpid(),
            job=self._facts.job,
            rank=self._facts.rank,
            size=self._facts.size,
            signal=int(number) if ours else 0,
            directory=str(self.directory.absolute()),
        )
        self._presence = presence.announce(here)
        _recordings.add(self)
        _start_answering()


def facts_of(rank: int, size: int, options: Options, job: str) -> dump.Facts:
    """What is known of a rank before it has a communicator."""
    choices = {f.name: str(getattr(options, f.name)) for f in dataclasses.fields(options)}
    versions = {
        "crossdock": bootstrap.package_version(),
        "schema": bootstrap.schema_fingerprint(),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        versions["torch"] = str(getattr(torch, "__version__", "unknown"))
    return dump.Facts(
        job=job,
        rank=rank,
        size=size,
        host=dump_files.host_name(),
        pid=os.getpid(),
        versions=versions,
        options=choices,
        threads=False,
        nodes=(0,) * size,
        routes=("",) * size,
        counter_bits=1,
        sequence_bits=1,
    )


def reason_of(error: CrossdockError) -> dump.Reason:
    """The reason of a dump that an error brings."""
    culprits: tuple[int, ...] = ()
    if isinstance(error, PeerLost | ProtocolError):
        culprits = (error.rank,)
    elif isinstance(error, DeadlineExceeded):
        culprits = error.missing
    elif isinstance(error, CutOff):
        culprits = error.ranks
    named = tuple(rank for rank in culprits if rank >= 0)
    return dump.Reason("error", type(error).__name__, str(error), named)


def say_where(error: CrossdockError, path: Path) -> None:
    """Names the dump in the message of an error."""
    error.args = (f"{error}\n  dump: {path} (crossdock explain {path.parent})", *error.args[1:])


def python_state() -> dump.Python:
    """What the threads of Python are doing."""
    names = {thread.ident: thread for thread in threading.enumerate()}
    threads = []
    for ident, frame in sys._current_frames().items():
        thread = names.get(ident)
        if thread is not None and thread.name == _NAME:
            continue
        calls = [
            f"{summary.filename}:{summary.lineno} in {summary.name}"
            for summary in reversed(traceback.extract_stack(frame, _CALLS_SHOWN))
        ]
        name = thread.name if thread is not None else str(ident)
        threads.append(dump.Thread(name, (thread and thread.native_id) or 0, tuple(calls)))
    return dump.Python(threads=tuple(threads))


# ---- answering signals --------------------------------------------------------------------------

_recordings: weakref.WeakSet[Recording] = weakref.WeakSet()
_starting = threading.Lock()
_answering_in = 0


def _start_answering() -> None:
    """One thread for the process; a forked child starts its own."""
    global _answering_in
    with _starting:
        if _answering_in == os.getpid():
            return
        _answering_in = os.getpid()
        thread = threading.Thread(target=_answer, name=_NAME, daemon=True)
        thread.start()
        atexit.register(_stop_answering, thread)


def _answer() -> None:
    service = _native.DumpService.instance()
    while service.await_request():
        for recording in list(_recordings):
            with _logged(recording._facts.rank, "no dump"):
                _log.warning("dump: %s", recording.save(None, dump.Reason("signal")))
        service.answered()


def _stop_answering(thread: threading.Thread) -> None:
    _native.DumpService.instance().stop()
    if _answering_in == os.getpid():
        thread.join(2)


@contextlib.contextmanager
def _logged(rank: int, what: str) -> Iterator[None]:
    """Whatever goes wrong with a dump is told, and never hides what the dump was to explain."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see above
        _log.warning("rank %d: %s: %s", rank, what, error)
