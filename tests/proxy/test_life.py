"""Starting and stopping, again and again: nothing may be left behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.harness import RankContext, run_ranks
from tests.programs import run_program
from tests.proxy.jobs import MIB, WAYS, names_in_shared_memory, options, write

from crossdock.proxy import Communicator, PeerLost, ThreadExchange

ROUNDS = 50  # of which some end in peace, some by an abort, and some are forgotten


def belongings() -> dict[str, int]:
    """What a leak would make grow."""
    process = Path("/proc/self")
    maps = (process / "maps").read_text().splitlines()
    return {
        "files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "mappings": sum("memfd:crossdock" in line for line in maps),
    }


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def start_and_stop(context: RankContext, transport: str, threads: int) -> None:
    resident_early = 0
    for number in range(ROUNDS):
        exchange = context.exchange(f"job-{number}")
        c = Communicator(exchange, options(transport, threads), main_bytes=MIB, num_counters=2)
        peer = 1 - c.rank
        c.region_array(0)[:] = 1
        c.push([write(peer, 0, 65536)])
        c.wait([peer], 1, 1, "a write")
        settle(context, f"before-{number}")
        if number % 2:
            c.barrier()
            c.destroy()
        elif number % 4:
            c.abort()
            c.destroy()
        del c  # at once: nothing refers to it in a circle
        if number == 4:
            settle(context, "early")
            before, resident_early = belongings(), resident()
    settle(context, "late")
    after = belongings()
    assert after == before
    assert after["mappings"] == 0
    assert resident() - resident_early < 8 * MIB


def settle(context: RankContext, name: str) -> None:
    """An abort must not overtake what the peer waits for."""
    context.exchange(name).all_gather(b"", 10)


@pytest.mark.parametrize(("transport", "threads"), WAYS)
def test_fifty_starts_leave_nothing_behind(transport: str, threads: int) -> None:
    names = names_in_shared_memory()
    run_ranks(start_and_stop, 2, transport, threads)
    assert names_in_shared_memory() <= names


def forget(context: RankContext, threads: int) -> None:
    c = Communicator(context.exchange(), options("shm", threads), num_counters=2)
    pace = context.exchange("pace")
    if c.rank == 0:
        # Inline proxies have one thread too, which runs them when nobody waits.
        threads_before = belongings()["threads"] - max(1, threads)
        files = belongings()["files"]
        c.push([write(1, 0)])
        del c
        left = belongings()
        assert left["threads"] == threads_before
        assert left["files"] < files
        assert left["mappings"] == 0
    else:
        c.wait([0], 1, 1, "what was pushed before")
        with pytest.raises(PeerLost, match="rank 0 has left the job"):
            c.wait([0], 1, 2, "more")
    pace.all_gather(b"", 10)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_forgotten_communicator_sends_its_last_and_leaves(threads: int) -> None:
    run_ranks(forget, 2, threads)


FORGETFUL = """
from crossdock.proxy import Communicator, Options, ThreadExchange
c = Communicator(ThreadExchange.group(1)[0], Options(proxy_threads=2, heap_bytes=4096))
print("built", flush=True)
"""


def test_an_interpreter_can_end_while_proxies_run() -> None:
    done = run_program(FORGETFUL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "built\n", "")


def test_building_needs_no_more_than_moments() -> None:
    start = time.monotonic()
    c = Communicator(ThreadExchange.group(1)[0], options())
    c.barrier()
    c.destroy()
    assert time.monotonic() - start < 2


def test_names_are_loaded_without_the_native_core() -> None:
    """The schema must be readable before anything is built."""
    code = (
        "import sys; sys.modules['crossdock.proxy._native'] = None\n"
        "import crossdock.proxy as p, crossdock.proxy.schema_header as h\n"
        "assert h.header() and p.Options and p.CapacityError\n"
        "try: p.Communicator\n"
        "except ImportError: print('needs the core')\n"
    )
    done = run_program(code)
    assert done.stdout == "needs the core\n", done.stderr


def test_every_public_name_is_there() -> None:
    import crossdock.proxy

    for name in crossdock.proxy.__all__:
        assert getattr(crossdock.proxy, name) is not None
    assert set(dir(crossdock.proxy)) == set(crossdock.proxy.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        crossdock.proxy.Nothing  # noqa: B018
