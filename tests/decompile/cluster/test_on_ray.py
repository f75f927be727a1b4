"""Ranks as actors of a real Ray of one host."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.decompile.cluster.commands import PROGRAM, line_of, place

from crossdock.decompile.cluster import record
from crossdock.decompile.dynamo.index import load
from crossdock.deploy.decompile import on_ray, run
from crossdock.deploy.decompile.run import Options

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]


def launched(folder: Path, *words: str, **options: float) -> tuple[int, record.Record]:
    """The status and the record of two ranks."""
    status = run.main(
        Options(script=PROGRAM, arguments=words, ray=True, ranks=2, dir=folder, **options)  # type: ignore[arg-type]
    )
    found = record.load(folder)
    assert found is not None
    return status, found


def test_ranks_that_differ_are_told_apart_and_the_dump_of_a_dead_one_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on another machine: no rank sees the folder of the run."""
    monkeypatch.setattr(on_ray, "TOKEN", "other")
    folder = tmp_path / "run"
    status, found = launched(folder, "shape", "flag", "branch", "die")
    said = capfd.readouterr().err
    assert status == 1, said
    for expected in (
        f"crossdock: rank 0 and rank 1 part: shape at {place('shape')}: L['x']: size=[3] | ",
        f"flag at {place('flag')}: L['training'] == False | L['training'] == True",
        f"branch at {place('left branch')} | {place('right branch')}: compiled left | ",
        "rank 1 killed: killed by SIGKILL",
    ):
        assert expected in said
    assert [one.first.kind for one in found.divergences] == ["shape", "flag", "branch"]
    user = found.divergences[0].first.user
    assert user is not None
    assert user.line == line_of("shape")
    assert sorted(one.first.kind for one in found.warned) == ["branch", "flag", "shape"]
    stopped, dead = found.ranks
    assert (dead.state, dead.status) == ("killed", -signal.SIGKILL)
    assert (stopped.state, stopped.why) == ("stopped", "ended after rank 1")
    assert dead.last is not None
    assert dead.last.function == "right"
    for rank in (0, 1):
        assert load(folder / f"rank_{rank}").compiles[0].user.function == "sized"
        assert (folder / f"rank_{rank}" / "full_code.py").exists()


def test_ranks_that_hang_are_ended_at_the_deadline(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, found = launched(tmp_path / "run", "wait=/nonexistent", deadline_s=8.0)
    assert status == 1
    assert [end.state for end in found.ranks] == ["hung", "hung"]
    assert "rank 0 hung: did not end before the deadline" in capfd.readouterr().err


def test_too_many_ranks_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = Options(script=PROGRAM, ray=True, ranks=3, dir=tmp_path / "run")
    assert run.main(options) == 2
    assert "3 ranks ask for 3 CPUs at once" in capfd.readouterr().err


def test_torchruns_variables_by_node() -> None:
    places = [
        on_ray.Place("n1", "10.0.0.1", 5000, ("0",)),
        on_ray.Place("n2", "10.0.0.2", 5001, ("3",)),
        on_ray.Place("n1", "10.0.0.1", 5002, ("1",)),
    ]
    made = on_ray.environments(places)
    assert [one["LOCAL_RANK"] for one in made] == ["0", "0", "1"]
    assert [one["LOCAL_WORLD_SIZE"] for one in made] == ["2", "1", "2"]
    assert {one["MASTER_ADDR"] + ":" + one["MASTER_PORT"] for one in made} == {"10.0.0.1:5000"}
    assert [one["CUDA_VISIBLE_DEVICES"] for one in made] == ["0,1", "3", "0,1"]
    assert os.environ.get("RANK") is None
