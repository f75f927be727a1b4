"""Dumps: what is in them, when they are written, and what becomes of files that are none."""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.harness import RankContext, run_ranks
from tests.proxy.jobs import communicator, counted, options

from crossdock.proxy import (
    Communicator,
    DeadlineExceeded,
    ThreadExchange,
    dump_files,
    presence,
    schema,
)
from crossdock.proxy.dump import FORMAT, Dump, DumpError, encode, parse, read
from crossdock.proxy.dump_text import described_command, described_immediate

SILENCE_S = 8.0  # for Python to be given up, and more


@contextlib.contextmanager
def alone(folder: Path, **more: object) -> Iterator[Communicator]:
    """A job of one rank that dumps into a folder."""
    chosen = dataclasses.replace(options(timeout_s=0.1), dump_dir=str(folder), **more)  # type: ignore[arg-type]
    built = Communicator(ThreadExchange.group(1)[0], chosen, num_counters=4)
    try:
        yield built
    finally:
        built.destroy()


def dumps_in(folder: Path) -> list[Dump]:
    return [read(path) for path in sorted(folder.glob("*.json"))]


def until(holds: Callable[[], object], limit_s: float = SILENCE_S) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


# ---- what is in them ----------------------------------------------------------------------------


def tell_of_traffic(context: RankContext, transport: str) -> Dump | None:
    with communicator(context, transport) as c:
        peer = 1 - c.rank
        c.push([counted(peer, 2, value=number + 1) for number in range(20)])
        c.wait([peer], 2, 20 * 21 // 2, "numbers")
        c.fence()
        if c.rank == 0:
            context.exchange("told").all_gather(b"", 20)
            return read(c.dump(context.folder / "dump.json"))
        context.exchange("told").all_gather(b"", 20)
    return None


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_lane_is_told(transport: str) -> None:
    found = run_ranks(tell_of_traffic, 2, transport)[0]
    lane = found.state.peers[0].lanes[0]
    texts = [described_command(command.low) for command in lane.commands]
    assert [command.ticket for command in lane.commands] == list(range(12, 20))
    assert texts == [f"ADD counter 2 value {number}" for number in range(13, 21)]
    assert lane.arrived is not None
    assert found.state.rings[0].arrivals == 20
    now = found.state.monotonic_ns
    assert now - 20e9 < lane.arrived.at_ns <= now
    layout = schema.ImmediateLayout(found.facts.counter_bits, found.facts.sequence_bits)
    assert "counter 2 value 20" in described_immediate(lane.arrived.word, layout)
    assert all(now - 20e9 < command.popped_ns <= now for command in lane.commands)
    assert (lane.open, lane.waiting) == (0, 0)
    assert (lane.acknowledged is not None) == (transport == "tcp")
    assert found.facts.routes[1] == transport
    assert abs(found.state.wall_ns - time.time_ns()) < 60e9


def test_an_error_brings_one_dump_of_each_kind(tmp_path: Path) -> None:
    with alone(tmp_path / "new") as c:
        for _ in range(3):
            with pytest.raises(DeadlineExceeded) as caught:
                c.wait([0], 1, 7, "what never comes")
        first = dumps_in(tmp_path / "new")
    assert len(first) == 1
    assert first[0].reason.error == "DeadlineExceeded"
    (wait,) = first[0].state.waits
    assert (wait.what, wait.ending, wait.counter, wait.expected) == (
        "what never comes",
        "deadline",
        1,
        7,
    )
    assert [(m.rank, m.arrived, m.sealed) for m in wait.missing] == [(0, 0, False)]
    assert wait.deadline_ns - wait.since_ns < 0.2e9
    assert "dump:" not in str(caught.value)


def test_the_error_says_where_its_dump_is(tmp_path: Path) -> None:
    with alone(tmp_path) as c, pytest.raises(DeadlineExceeded) as caught:
        c.wait([0], 1, 1, "word")
    (path,) = tmp_path.glob("*.json")
    assert f"dump: {path} (crossdock explain {tmp_path})" in str(caught.value)
    assert caught.value.missing == (0,)


def test_a_failing_write_hides_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        caplog.at_level(logging.WARNING),
        alone(tmp_path / "file", dump_signal="none") as c,
        pytest.raises(DeadlineExceeded, match="what never comes"),
    ):
        c.wait([0], 1, 1, "what never comes")
    assert "the dump cannot be written" in caplog.text
    with alone(tmp_path) as c, pytest.raises(DumpError, match=r"file/x\.json: the dump cannot be"):
        c.dump(tmp_path / "file" / "x.json")


def test_a_process_leaves_few_files(tmp_path: Path) -> None:
    with alone(tmp_path) as c:
        paths = [c.dump() for _ in range(dump_files.MAX_FILES + 5)]
    assert sorted(tmp_path.glob("*.json")) == sorted(paths[5:])


# ---- signals ------------------------------------------------------------------------------------


def sleep_in_python() -> None:
    time.sleep(60)


def compute_without_python() -> None:
    print(sum(range(10**11)))


def wait_natively(c: Communicator) -> None:
    c.wait([0], 1, 1, "what never comes", 60)


def busy_rank(folder: str, how: str) -> None:
    """The body of a process that is sent a signal."""
    with alone(Path(folder)) as c:
        print("ready", flush=True)
        if how == "waits":
            wait_natively(c)
        else:
            {"sleeps": sleep_in_python, "computes": compute_without_python}[how]()


@pytest.mark.parametrize("how", ["sleeps", "computes", "waits"])
def test_a_signal_brings_a_dump_whatever_the_rank_does(how: str, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        f"from tests.proxy.test_dump import busy_rank; busy_rank({str(tmp_path)!r}, {how!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.2)
        (found,) = presence.ranks({process.pid})
        assert (found.answers, found.state) == (True, "running")
        process.send_signal(found.presence.signal)
        until(lambda: list(tmp_path.glob("*.json")))
        assert process.poll() is None
        process.kill()
    (made,) = dumps_in(tmp_path)
    assert made.reason.kind == "signal"
    waits = [wait.what for wait in made.state.waits]
    assert waits == (["what never comes"] if how == "waits" else [])
    calls = [call for thread in made.python.threads for call in thread.calls]
    if how == "computes":
        assert "did not answer" in made.python.silence
    else:
        name = "sleep_in_python" if how == "sleeps" else "wait_natively"
        assert any(call.endswith(f"in {name}") for call in calls)
    assert presence.ranks({process.pid}) == []


def test_a_handler_of_the_application_stays(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; sys.path[:0] = " + repr(sys.path) + "\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGUSR2, lambda *_: print('mine', flush=True))\n"
        "from tests.proxy.test_dump import alone\n"
        "from crossdock.proxy import presence\n"
        f"with alone(Path({str(tmp_path)!r})) as c:\n"
        "    assert not presence.ranks({os.getpid()})[0].answers\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "mine\n"
    assert list(tmp_path.glob("*.json")) == []


def test_signals_can_be_switched_off(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with alone(tmp_path, dump_signal="none"):
        assert presence.ranks({os.getpid()}) == []
    assert signal.getsignal(signal.SIGUSR1) == before


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with alone(tmp_path):  # starts what stays
        pass

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()
    count, threads = open_files(), threading.active_count()
    for _ in range(5):
        with alone(tmp_path):
            pass
    assert (open_files(), threading.active_count()) == (count, threads)


# ---- files that are none ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a real dump."""
    folder = tmp_path_factory.mktemp("whole")
    with alone(folder) as c:
        c.push([counted(0, 2)])
        _thread.start_new_thread(lambda: None, ())
        return c.dump(folder / "dump.json").read_bytes()


def refused_or_read(data: bytes) -> None:
    with contextlib.suppress(DumpError):
        parse(data)


def test_a_dump_is_read_as_it_was_written(whole: bytes) -> None:
    made = parse(whole)
    assert parse(encode(made)) == made
    assert made.format == FORMAT


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_off_dumps_are_refused(data: st.DataObject, whole: bytes) -> None:
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DumpError):
        parse(whole[:end])


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_refused_or_read(data: st.DataObject, whole: bytes) -> None:
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(broken))


@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(DumpError):
        parse(garbage)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_values_are_refused_or_read(data: st.DataObject, whole: bytes) -> None:
    tree = msgspec.json.decode(whole)
    place = tree
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    refused_or_read(msgspec.json.encode(tree))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda tree: tree.update(format=2),
            "is a dump of format 2, but this version reads",
        ),
        (lambda tree: tree["facts"].update(rank=7), "names rank 7, but its job has 1 rank"),
        (lambda tree: tree["facts"].update(routes=[]), "has 0 routes and 1 nodes, not 1"),
        (lambda tree: tree["facts"].update(size=0), "Expected `int` >= 1"),
    ],
)
def test_the_refusal_names_file_and_reason(
    change: Callable[[dict[str, dict[str, object]]], None], said: str, whole: bytes, tmp_path: Path
) -> None:
    tree = msgspec.json.decode(whole)
    change(tree)
    path = tmp_path / "bad.json"
    path.write_bytes(msgspec.json.encode(tree))
    with pytest.raises(DumpError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    with pytest.raises(DumpError, match=r"nowhere: cannot be read: No such file"):
        read(tmp_path / "nowhere")
