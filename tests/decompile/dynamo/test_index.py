"""index.json holds what was entered, and refuses what it cannot mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossdock.decompile.dynamo import index
from crossdock.decompile.dynamo.errors import DumpUnreadable


def full() -> index.Index:
    user = index.Line(file="model.py", line=3, function="forward")
    return index.Index(
        compiles=[
            index.Compile(
                compile_id="0/1",
                user=user,
                seconds={"total": 0.5},
                guards=[index.Guard(kind="EQUALS_MATCH", code="L['n'] == 1")],
                recompiled_because=[index.FailedGuard(compile_id="0/0", guard="n == 1")],
            )
        ],
        breaks=[index.Break(compile_id="0/0", user=user, reason="print", details="print\nhint")],
        artifacts=[index.Artifact(kind="guards", file="guards.py", digest="ab", user=user)],
        faults=["one"],
    )


def test_read_as_written(tmp_path: Path) -> None:
    written = full()
    written.save(tmp_path)
    assert index.load(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [index.FILE]


def test_a_rank_is_known_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    process = index.Index().process
    assert (process.rank, process.world_size) == (3, 8)
    monkeypatch.setenv("RANK", "three")
    assert index.Index().process.rank is None


def test_truncated_files_are_refused_at_every_length(tmp_path: Path) -> None:
    full().save(tmp_path)
    whole = (tmp_path / index.FILE).read_bytes()
    for length in range(0, len(whole) - 2, 7):
        (tmp_path / index.FILE).write_bytes(whole[:length])
        with pytest.raises(DumpUnreadable, match=index.FILE):
            index.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "null", '{"format": "1"}', '{"format": 1, "compiles": 3}'])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / index.FILE).write_text(text)
    with pytest.raises(DumpUnreadable):
        index.load(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / index.FILE).write_bytes(b'{"format": 1, "process": {"host": "\xff"}}')
    with pytest.raises(DumpUnreadable):
        index.load(tmp_path)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    (tmp_path / index.FILE).write_text('{"format": 99, "compiles": "otherwise"}')
    with pytest.raises(DumpUnreadable, match="format 99"):
        index.load(tmp_path)


def test_no_file_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(DumpUnreadable):
        index.load(tmp_path / "absent")
