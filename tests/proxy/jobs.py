"""What the tests of the communicator share: how ranks build one, and what they ask of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import RankContext
from tests.networks import NETWORK

from crossdock.proxy import Communicator, Options, _native, schema
from crossdock.proxy.schema import Command, Op

MIB = 1 << 20
NUM_COUNTERS = 8
# (transport, proxy threads): what must behave alike.
WAYS = [("shm", 0), ("shm", 2), (NETWORK, 0), (NETWORK, 2)]


def options(transport: str = "auto", threads: int = 0, **more: Any) -> Options:
    """Options that cost little."""
    values: dict[str, Any] = {"timeout_s": 20.0, "heap_bytes": MIB, "pin": False}
    return Options(transport=transport, proxy_threads=threads, **(values | more))  # type: ignore[arg-type]


@contextlib.contextmanager
def communicator(
    context: RankContext, transport: str = "auto", threads: int = 0, **more: Any
) -> Iterator[Communicator]:
    """A communicator of all ranks, destroyed when the block ends well, aborted when it does not."""
    built = Communicator(
        context.exchange(),
        options(transport, threads, **more),
        main_bytes=MIB,
        num_counters=NUM_COUNTERS,
    )
    try:
        yield built
    except BaseException:
        built.abort()
        raise
    finally:
        built.destroy()


class _WithoutCaretaker(_native.CommunicatorConfig):
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, False if name == "caretaker" else value)


@contextlib.contextmanager
def without_caretaker() -> Iterator[None]:
    """What is built in the block has nobody who runs inline proxies but who waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "CommunicatorConfig", _WithoutCaretaker)
        yield


def write(peer: int, offset: int, size: int = 64, **more: Any) -> Command:
    """A counted write from and to the same offset of the main region, unless ``more`` says else."""
    values: dict[str, Any] = {"counter": 1, "value": 1, "src_offset": offset, "dst_offset": offset}
    return Command(Op.WRITE_ADD, peer, size, **(values | more))


def names_in_shared_memory() -> set[str]:
    """Names under /dev/shm, but for those of an Open MPI job that somebody else may be running."""
    names = {path.name for path in Path("/dev/shm").iterdir()}
    return {name for name in names if not name.startswith("vader_segment")}


def counted(peer: int, counter: int, value: int = 1) -> Command:
    """An ADD without payload."""
    return Command(schema.Op.ADD, peer, counter=counter, value=value)
