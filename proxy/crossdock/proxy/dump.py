"""What a rank leaves behind for whoever has to explain a job that hangs or has failed: one file.

A dump is JSON with a format number. What the native core knows (``State``) is written by the core
itself, so that a rank whose interpreter is busy can be dumped, too. Times are nanoseconds: those
that end in ``_ns`` of CLOCK_MONOTONIC of the rank's host, but for ``wall_ns``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from crossdock.proxy import schema
from crossdock.proxy.errors import CrossdockError

FORMAT = 1
SUFFIX = ".json"
MAX_BYTES = 64 << 20

Count = Annotated[int, msgspec.Meta(ge=0)]
Rank = Annotated[int, msgspec.Meta(ge=0, lt=schema.MAX_PEERS)]


class DumpError(CrossdockError, ValueError):
    """A file is no dump, or not one that this version can read; the message names the file."""


class Facts(msgspec.Struct, frozen=True):
    """What does not change while a communicator lives."""

    job: str
    rank: Rank
    size: Annotated[int, msgspec.Meta(ge=1, le=schema.MAX_PEERS)]
    host: str
    pid: Count
    versions: dict[str, str]
    options: dict[str, str]
    threads: bool
    """Whether proxies have threads of their own."""
    nodes: tuple[Count, ...]
    routes: tuple[str, ...]
    counter_bits: Annotated[int, msgspec.Meta(ge=1, le=26)]
    sequence_bits: Annotated[int, msgspec.Meta(ge=1, le=26)]


class Reason(msgspec.Struct, frozen=True):
    """Why a dump was written: error, signal or demand."""

    kind: str
    error: str = ""
    """The name of the error's class."""
    message: str = ""
    culprits: tuple[Rank, ...] = ()
    """The ranks that the error names."""


class Fault(msgspec.Struct, frozen=True):
    """The first thing that went wrong on the rank."""

    code: str
    peer: int
    detail: Count


class Operation(msgspec.Struct, frozen=True):
    """The collective operation that was begun last."""

    name: str = ""
    begun: Count = 0
    ended: Count = 0


class Missing(msgspec.Struct, frozen=True):
    """A rank that is waited for, and its counter where there is one."""

    rank: Rank
    arrived: Count | None = None
    total: Count | None = None
    sealed: bool | None = None


class Wait(msgspec.Struct, frozen=True):
    """A wait that goes on, or has failed: then it has an ``ending``."""

    operation: str
    what: str
    thread: Count
    since_ns: Count
    deadline_ns: Count
    ended_ns: Count
    ending: str
    counter: int
    expected: Count
    missing: tuple[Missing, ...]


class Stamp(msgspec.Struct, frozen=True):
    """32 bits and about when."""

    at_ns: Count
    word: Count


class KeptCommand(msgspec.Struct, frozen=True):
    """The low word of a command that a ring still holds; ``popped_ns`` is 0 where not known."""

    ticket: Count
    low: Count
    popped_ns: Count


class Ring(msgspec.Struct, frozen=True):
    """A ring and the proxy behind it."""

    capacity: Count
    reserved: Count
    popped: Count
    completed: Count
    bytes: Count
    arrivals: Count
    late_dropped: Count
    repeated_events: Count
    oldest: KeptCommand | None
    """The oldest command that is not acknowledged."""


class Lane(msgspec.Struct, frozen=True):
    """What one proxy did with one peer."""

    state: str
    """What the endpoint says of the way to the peer."""
    waiting: Count
    """Commands that the proxy has not read."""
    open: Count
    """Commands that may be under way."""
    drops: Count
    arrived: Stamp | None
    """The last immediate."""
    acknowledged: Stamp | None
    """The lower half of the last ticket, in the order of completions."""
    dropped: Stamp | None
    commands: tuple[KeptCommand, ...]


class NicFailure(msgspec.Struct, frozen=True):
    """How a NIC failed to carry on."""

    nic: str
    status: Count
    vendor: Count
    queue_pair: Count
    operation: Count


class Peer(msgspec.Struct, frozen=True):
    """What a rank knows of another one."""

    rank: Rank
    state: str
    loss: str
    detail: int
    lanes: tuple[Lane, ...]
    failure: NicFailure | None = None


class State(msgspec.Struct, frozen=True):
    """What the native core knows."""

    wall_ns: Count
    monotonic_ns: Count
    epoch: Count
    fault: Fault | None
    operation: Operation
    waits: tuple[Wait, ...]
    rings: tuple[Ring, ...]
    peers: tuple[Peer, ...]


class Thread(msgspec.Struct, frozen=True):
    """A thread of Python and its innermost calls, the innermost first."""

    name: str
    native_id: Count
    calls: tuple[str, ...]


class Python(msgspec.Struct, frozen=True):
    """What Python was doing; or why nobody knows."""

    threads: tuple[Thread, ...] = ()
    silence: str = ""


class Dump(msgspec.Struct, frozen=True):
    """The dump of one rank."""

    format: int
    facts: Facts
    reason: Reason
    state: State
    python: Python = Python()


class _Format(msgspec.Struct, frozen=True):
    format: int


def read(path: Path) -> Dump:
    """The dump in a file.

    Raises:
        DumpError: it cannot be read, with the file's name and the reason.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DumpError(f"{path}: has more than {MAX_BYTES} bytes, so it is no dump of a rank")
        return parse(path.read_bytes())
    except OSError as error:
        raise DumpError(f"{path}: cannot be read: {error.strerror}") from error
    except DumpError as error:
        raise error if str(path) in str(error) else DumpError(f"{path}: {error}") from error


def parse(data: bytes) -> Dump:
    """The dump in a file's bytes; DumpError where they are none."""
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found != FORMAT:
            raise DumpError(
                f"is a dump of format {found}, but this version reads format {FORMAT}; use the "
                "crossdock of the job"
            )
        dump = msgspec.json.decode(data, type=Dump)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DumpError(f"is no dump of a rank, or is cut off: {error}") from error
    _require_ranks(dump)
    return dump


def _require_ranks(dump: Dump) -> None:
    """DumpError where a rank is named that the job does not have."""
    facts, size = dump.facts, dump.facts.size
    named = {facts.rank, *dump.reason.culprits, *(peer.rank for peer in dump.state.peers)}
    named |= {missing.rank for wait in dump.state.waits for missing in wait.missing}
    beyond = {rank for rank in named if rank >= size}
    if beyond:
        raise DumpError(f"names rank {min(beyond)}, but its job has {size} rank(s)")
    if len(facts.routes) != size or len(facts.nodes) != size:
        raise DumpError(f"has {len(facts.routes)} routes and {len(facts.nodes)} nodes, not {size}")


def encode(dump: Dump) -> bytes:
    """The bytes of a dump's file."""
    return msgspec.json.encode(dump)


def directory(chosen: str | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """Where dumps go: what was chosen, else ``CROSSDOCK_DUMP_DIR``, else a folder of this user."""
    environment = os.environ if environment is None else environment
    name = chosen or environment.get("CROSSDOCK_DUMP_DIR")
    return Path(name) if name else Path(tempfile.gettempdir()) / f"crossdock-dumps-{os.getuid()}"
