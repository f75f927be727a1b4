"""Ranks that say that they do not write any more, or end."""

from __future__ import annotations

import mmap
import os
import secrets
import signal
import time

import pytest
from tests.harness import RankContext, run_ranks

from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.ep.gpu.writers import Place, Visit, Writer, not_done, wait_for
from crossdock.proxy.errors import TransportError


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> InterpreterPlatform:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return InterpreterPlatform()


def test_who_has_closed_everything_is_done(platform: InterpreterPlatform) -> None:
    memory = [platform.allocate(4096) for _ in range(3)]
    visit = Visit(platform)
    writer = Writer(7, visit.place)
    opened = [visit.open(platform.share(one), 4096) for one in memory]
    visit.close_one(opened[1])
    assert set(platform._memory) == {*memory, opened[0], opened[2]}
    assert not_done([writer]) == [7]
    visit.close()
    assert set(platform._memory) == set(memory)
    assert not_done([writer]) == []
    visit.close()
    del visit
    assert writer.is_done


def test_a_visit_that_fails_leaves_nothing_open(platform: InterpreterPlatform) -> None:
    visit = Visit(platform)
    with pytest.raises(TransportError):
        visit.open(b"/proc/self/fd/-1", 4096)
    visit.close()
    assert not platform._memory


def child_that_waits() -> tuple[int, Place]:
    """A process with a page."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        visit = Visit(InterpreterPlatform())
        os.write(writer, b"%d " % visit.place.file + visit.place.name)
        time.sleep(60)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        file, name = pipe.raw.read(64).split(b" ", 1)
    return pid, Place(pid, int(file), name)


def ended_by_itself(rank: RankContext) -> None:
    del rank
    pid, place = child_that_waits()
    writer = Writer(1, place)
    begun = time.monotonic()
    wait_for([writer], 0.2)
    assert time.monotonic() - begun >= 0.2
    os.kill(pid, signal.SIGSTOP)  # a GPU goes on meanwhile
    assert not_done([writer]) == [1]
    os.kill(pid, signal.SIGKILL)
    wait_for([writer], 20)
    assert not_done([writer]) == []
    os.waitpid(pid, 0)
    assert writer.is_done


def test_who_has_ended_is_done() -> None:
    run_ranks(ended_by_itself, 1, environment={"TRITON_INTERPRET": "1"})


def test_another_file_is_not_taken_for_a_page(platform: InterpreterPlatform) -> None:
    place = Visit(platform).place
    other = os.memfd_create("other")
    os.ftruncate(other, mmap.PAGESIZE)
    for wrong in (
        Place(place.pid, other, place.name),
        Place(place.pid, 1 << 20, place.name),
        Place(place.pid, os.memfd_create("empty"), place.name),
        Place(0, place.file, secrets.token_bytes(16)),
    ):
        with pytest.raises(TransportError, match="rank 4"):
            Writer(4, wrong)
