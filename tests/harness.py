"""Runs a function on several ranks, each a process of its own, and brings back what happened.

    def exchange_greetings(rank: RankContext, word: str) -> list[bytes]:
        return rank.exchange().all_gather(word.encode(), 5)

    assert run_ranks(exchange_greetings, 3, "hello") == [[b"hello"] * 3] * 3

Ranks are forked from one server process that has imported what is slow to import. They meet in a
folder, so nothing here needs a port. Whatever happens, no process outlives the call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import faulthandler
import importlib.util
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from typing import Any

from crossdock.proxy import StoreExchange

_PRELOADED = ("numpy", "msgspec", "torch", "pytest", "hypothesis")
_POLL_S = 0.002
PATIENCE = float(os.environ.get("CROSSDOCK_TEST_PATIENCE", "1"))
"""How much longer than on a whole machine anything may take, where only its end is waited for."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([name for name in _PRELOADED if importlib.util.find_spec(name)])


class FolderStore:
    """A store whose keys are files: enough for ranks to meet."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder

    def set(self, key: str, value: bytes, /) -> None:
        """Store a value; readers see all of it or nothing."""
        file, draft = tempfile.mkstemp(dir=self._folder, prefix="draft-")
        with os.fdopen(file, "wb") as stream:
            stream.write(value)
        pathlib.Path(draft).rename(self._path(key))

    def get(self, key: str, /) -> bytes:
        """The value of a key."""
        return self._path(key).read_bytes()

    def check(self, keys: list[str], /) -> bool:
        """Whether all keys are there."""
        return all(self._path(key).exists() for key in keys)

    def wait(self, keys: list[str], timeout: datetime.timedelta, /) -> None:
        """Return when all keys are there."""
        end = time.monotonic() + timeout.total_seconds()
        while not self.check(keys):
            if time.monotonic() > end:
                raise TimeoutError(f"not all of {keys} came")
            time.sleep(_POLL_S)

    def delete_key(self, key: str, /) -> bool:
        """Remove a key."""
        self._path(key).unlink(missing_ok=True)
        return True

    def _path(self, key: str) -> pathlib.Path:
        return self._folder / key.replace("/", "|")


@dataclasses.dataclass
class RankContext:
    """What a function that runs on a rank is given first."""

    rank: int
    size: int
    folder: pathlib.Path

    @property
    def store(self) -> FolderStore:
        """Where the ranks of this run meet."""
        return FolderStore(self.folder)

    def exchange(self, name: str = "job", ranks: Collection[int] | None = None) -> StoreExchange:
        """An exchange between ``ranks``, or all; each name may be used once."""
        members = sorted(range(self.size) if ranks is None else ranks)
        return StoreExchange(self.store, members.index(self.rank), len(members), name)

    @contextlib.contextmanager
    def gloo(self) -> Iterator[None]:
        """A torch.distributed world of all ranks, for as long as the block runs."""
        import torch.distributed as dist

        store = dist.FileStore(str(self.folder / "gloo"), self.size)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size)
        try:
            yield
        finally:
            dist.destroy_process_group()


class RanksFailed(AssertionError):
    """Some ranks raised, died, or did not end in time; the message holds their tracebacks."""


@dataclasses.dataclass
class Died:
    """Result of a rank that was allowed to die, and did."""

    signal: int


@dataclasses.dataclass
class _Failure:
    text: str


def run_ranks(
    function: Callable[..., Any],
    size: int,
    *args: Any,
    timeout: float = 60.0,
    may_die: Collection[int] = (),
    environment: dict[str, str] | None = None,
) -> list[Any]:
    """Run ``function(rank_context, *args)`` on each rank and return what each returned.

    Args:
        function: defined at the top level of a module; its results must be picklable.
        size: how many ranks.
        args: passed to every rank.
        timeout: seconds, times PATIENCE, until all ranks are killed and the call fails.
        may_die: ranks whose death by a signal is no failure; their result is ``Died``.
        environment: variables set on every rank.

    Raises:
        RanksFailed: with the tracebacks of all ranks that failed.
    """
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        ranks = [
            _Rank(RankContext(rank, size, pathlib.Path(folder)), function, args, environment or {})
            for rank in range(size)
        ]
        try:
            _collect(ranks, time.monotonic() + timeout * PATIENCE)
        finally:
            for rank in ranks:
                rank.end()
    failures = [_failure_of(rank, may_die, timeout) for rank in ranks]
    if any(failures):
        raise RanksFailed("\n\n".join(filter(None, failures)))
    return [rank.result for rank in ranks]


class _Rank:
    """The parent's side of one rank."""

    def __init__(
        self,
        context: RankContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        environment: dict[str, str],
    ) -> None:
        self.number = context.rank
        self.result: Any = None
        self.stacks = ""
        self._fatal = _fatal_file(context)
        self.pending = True
        self.reader, writer = _CONTEXT.Pipe(duplex=False)
        where = (function.__module__, str(_file_of(function)), function.__qualname__)
        self.process = _CONTEXT.Process(
            target=_run, args=(context, where, args, environment, writer), daemon=True
        )
        self.process.start()
        writer.close()

    def receive(self) -> None:
        """Take the result, or note the death."""
        self.pending = False
        try:
            self.result = pickle.loads(self.reader.recv_bytes())  # noqa: S301
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            self.result = Died(-code if code is not None and code < 0 else 0)
            with contextlib.suppress(OSError):
                self.stacks = self._fatal.read_text()

    def end(self) -> None:
        """See to it that the process is gone."""
        self.process.join(0 if self.pending else 10)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.reader.close()
        self.process.close()


def _collect(ranks: list[_Rank], end: float) -> None:
    by_reader = {rank.reader: rank for rank in ranks}
    while waiting := [rank.reader for rank in ranks if rank.pending]:
        ready = multiprocessing.connection.wait(waiting, end - time.monotonic())
        if not ready:
            return
        for reader in ready:
            by_reader[reader].receive()  # type: ignore[index]


def _failure_of(rank: _Rank, may_die: Collection[int], timeout: float) -> str | None:
    if rank.pending:
        return f"rank {rank.number} did not end within {timeout:g} s"
    if isinstance(rank.result, Died) and rank.number not in may_die:
        return f"rank {rank.number} died of signal {rank.result.signal}\n{rank.stacks}"
    if isinstance(rank.result, _Failure):
        return f"rank {rank.number} raised:\n{rank.result.text}"
    return None


def _fatal_file(context: RankContext) -> pathlib.Path:
    """Where a rank that crashes writes what it was doing."""
    return context.folder / f"fatal-{context.rank}"


# ---- on the rank --------------------------------------------------------------------------------


def _run(
    context: RankContext,
    where: tuple[str, str, str],
    args: tuple[Any, ...],
    environment: dict[str, str],
    writer: multiprocessing.connection.Connection,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    faulthandler.enable(_fatal_file(context).open("w"))
    os.environ.update(environment)
    result: Any
    try:
        result = _found(*where)(context, *args)
        data = pickle.dumps(result)
    except BaseException:  # noqa: BLE001 (the parent shows it, whatever it is)
        data = pickle.dumps(_Failure(traceback.format_exc()))
    with contextlib.suppress(BrokenPipeError):
        writer.send_bytes(data)
    writer.close()


def _file_of(function: Callable[..., Any]) -> pathlib.Path:
    return pathlib.Path(sys.modules[function.__module__].__file__ or "")


def _found(module_name: str, file: str, qualified_name: str) -> Callable[..., Any]:
    """The function, from its file: test modules cannot always be imported by name."""
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    found: Any = module
    for name in qualified_name.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{qualified_name} is no function")
    return found  # type: ignore[no-any-return]
