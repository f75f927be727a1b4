"""What is no run of ranks is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.decompile.dynamo.test_index import full

from crossdock.decompile.cluster import dumps, record
from crossdock.decompile.cluster.errors import NoDumps, RankMissing
from crossdock.decompile.dynamo import index


def ranks(folder: Path, *numbers: int) -> Path:
    for rank in numbers:
        own = folder / f"rank_{rank}"
        own.mkdir(parents=True)
        full().save(own)
    return folder


def test_all_or_some_are_read(tmp_path: Path) -> None:
    ranks(tmp_path, 0, 1, 10)
    assert list(dumps.read(tmp_path, [10, 0])) == [0, 10]
    assert dumps.read(tmp_path, [1])[1].steps[0].user.function == "forward"


def test_no_folder_and_no_ranks(tmp_path: Path) -> None:
    with pytest.raises(NoDumps, match="is no folder"):
        dumps.read(tmp_path / "absent")
    with pytest.raises(NoDumps, match="crossdock decompile run"):
        dumps.read(tmp_path)
    full().save(tmp_path)
    with pytest.raises(NoDumps, match="decompile explain"):
        dumps.read(tmp_path)


def test_a_rank_that_is_missing_is_named(tmp_path: Path) -> None:
    ranks(tmp_path, 0, 2)
    with pytest.raises(RankMissing, match="rank 1 has no folder"):
        dumps.read(tmp_path, [0, 1])
    ends = [
        record.RankEnd(
            rank=rank, host="", pid=None, state="ended", status=0, why="", doing=None, last=None
        )
        for rank in range(4)
    ]
    run = record.Record(
        launcher="ray",
        argv=[],
        started="",
        seconds=1.0,
        ranks=ends,
        warned=[],
        divergences=[],
        notes=[],
    )
    run.save(tmp_path)
    with pytest.raises(RankMissing, match=r"of 2 of 4 ranks, but not rank_1"):
        dumps.read(tmp_path)
    assert record.load(tmp_path) == run


def test_truncated_dumps_and_those_of_another_format(tmp_path: Path) -> None:
    ranks(tmp_path, 0, 1)
    path = tmp_path / "rank_1" / index.FILE
    whole = path.read_text()
    for damaged in (whole[: len(whole) // 2], "", whole.replace('"format": 1', '"format": 9')):
        path.write_text(damaged)
        with pytest.raises(RankMissing, match="rank 1"):
            dumps.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1}'])
def test_a_damaged_record(tmp_path: Path, text: str) -> None:
    ranks(tmp_path, 0, 1)
    (tmp_path / record.FILE).write_text(text)
    with pytest.raises(NoDumps, match=record.FILE):
        dumps.read(tmp_path)
