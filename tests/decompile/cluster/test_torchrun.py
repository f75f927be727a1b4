"""Ranks started by torchrun: told apart while they run, gathered however they end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.decompile.cluster.commands import (
    PROGRAM,
    begun,
    call,
    line_of,
    place,
    wait_for_text,
    words,
)

from crossdock.decompile.cluster import dumps, record
from crossdock.decompile.cluster.histories import divergences

pytestmark = pytest.mark.timeout(300)


def test_ranks_that_differ_are_told_apart_while_they_run_and_one_dies(tmp_path: Path) -> None:
    go, log, folder = tmp_path / "go", tmp_path / "log", tmp_path / "run"
    options = ("--torchrun", "-n", 3, "--dir", folder)
    program = (PROGRAM, "shape", "flag", "branch", f"wait={go}", "die")
    with begun(log, words("run", *options, *program)) as process:
        for expected in (
            f": shape at {place('shape')}: L['x']: size=[3] | L['x']: size=[4]",
            f": flag at {place('flag')}: L['training'] == False | L['training'] == True",
            f": branch at {place('left branch')} | {place('right branch')}: compiled left | ",
        ):
            wait_for_text(log, expected, process)
        for rank in (0, 1):
            wait_for_text(folder / f"rank_{rank}" / "index.json", '"left"', process)
        go.touch()
        assert process.wait() == 1
    said = log.read_text()
    assert "rank 2 killed: killed by SIGKILL" in said
    assert f"it compiled last right, {PROGRAM}" in said
    assert "rank 0 stopped: ended after rank 2" in said
    assert place("flag") in (folder / "index.html").read_text()
    run = record.load(folder)
    assert run is not None
    assert len(run.warned) == 3
    assert run.ranks[2].status == -signal.SIGKILL
    read = dumps.read(folder)
    assert (read[2].folder / "full_code.py").exists()
    found = divergences({rank: one.steps for rank, one in read.items()})
    assert found == run.divergences
    assert [(one.left_ranks, one.right_ranks) for one in found] == [([0, 1], [2])] * 3
    assert [one.first.kind for one in found] == ["shape", "flag", "branch"]
    user = found[0].first.user
    assert user is not None
    assert user.line == line_of("shape")


def test_ranks_that_agree_give_no_difference_by_inductor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND", "inductor")
    folder = tmp_path / "run"
    ran = call("run", "--torchrun", "--dir", folder, PROGRAM, "little", "--not", "for us")
    assert ran.status == 0, ran.err
    assert "2 ranks have compiled the same" in ran.err
    assert " part" not in ran.err
    read = dumps.read(folder)
    assert [one.user.function for one in read[0].steps] == ["left"]
    assert {one.kind for one in read[1].index.artifacts} >= {"inference_graph", "inductor"}
    assert divergences({rank: one.steps for rank, one in read.items()}) == []
