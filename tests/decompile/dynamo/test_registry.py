"""Who has entered which dump, from which thread and process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from crossdock.decompile.dynamo import index, registry


class Recorded:
    """A dump that only counts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.pid = os.getpid()
        self.turns: list[str] = []
        index.Index().save(folder)

    def start(self) -> None:
        self.turns.append("start")

    def stop(self, *, clean: bool) -> None:
        self.turns.append("clean" if clean else "stop")


def in_thread(work: Callable[[], object]) -> object:
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]


def test_a_folder_entered_twice_is_one_dump(tmp_path: Path) -> None:
    outer = registry.enter(tmp_path, Recorded)
    inner = registry.enter(tmp_path, Recorded)
    assert outer[0] is inner[0]
    registry.leave(inner, clean=False)
    assert registry.is_on(outer[0])
    registry.leave(outer, clean=True)
    again = registry.enter(tmp_path, Recorded)
    registry.leave(again, clean=False)
    assert again[0] is outer[0]
    assert outer[0].turns == ["start", "clean", "start", "stop"]  # type: ignore[attr-defined]
    assert not registry.any_on()
    assert registry.latest() == tmp_path


def test_a_removed_folder_is_begun_anew(tmp_path: Path) -> None:
    first = registry.enter(tmp_path, Recorded)
    registry.leave(first, clean=False)
    (tmp_path / index.FILE).unlink()
    second = registry.enter(tmp_path, Recorded)
    registry.leave(second, clean=False)
    assert second[0] is not first[0]


def test_a_thread_writes_into_its_own_dumps_only(tmp_path: Path) -> None:
    here = registry.enter(tmp_path / "here", Recorded)
    try:
        assert registry.concerns(here[0])
        assert in_thread(lambda: registry.concerns(here[0])), "a thread without dumps of its own"

        def of_its_own() -> tuple[bool, bool]:
            there = registry.enter(tmp_path / "there", Recorded)
            try:
                return registry.concerns(there[0]), registry.concerns(here[0])
            finally:
                registry.leave(there, clean=False)

        assert in_thread(of_its_own) == (True, False)
    finally:
        registry.leave(here, clean=False)
    assert not registry.concerns(here[0])


def test_nested_dumps_both_hear(tmp_path: Path) -> None:
    outer = registry.enter(tmp_path / "a", Recorded)
    inner = registry.enter(tmp_path / "b", Recorded)
    assert registry.concerns(outer[0])
    assert registry.concerns(inner[0])
    registry.leave(outer, clean=False)
    assert not registry.concerns(outer[0])
    assert registry.concerns(inner[0])
    registry.leave(inner, clean=False)


def test_ranks_have_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert registry.place(tmp_path) == tmp_path
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert registry.place(tmp_path) == tmp_path / "rank_5"


@pytest.mark.parametrize(
    ("pid", "host", "beside"),
    [
        (os.getpid(), None, False),
        (1, None, True),
        (2**22 + 1, None, False),
        (2**22 + 1, "elsewhere", True),
    ],
    ids=["own", "alive", "ended", "elsewhere"],
)
def test_a_living_process_keeps_its_folder(
    tmp_path: Path, pid: int, host: str | None, beside: bool
) -> None:
    own = index.Process()
    index.Index(process=index.Process(pid=pid, host=host or own.host)).save(tmp_path)
    placed = registry.place(tmp_path)
    assert placed == (tmp_path / f"process_{own.host}_{own.pid}" if beside else tmp_path)
