"""Ranks started by torchrun: told apart while they run, gathered however they end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.decompile.cluster.commands import (
    DEADLINE_S,
    PROGRAM,
    begun,
    call,
    line_of,
    place,
    wait_for_text,
    words,
)

from crossdock.decompile.cluster import record
from crossdock.decompile.dynamo.index import load

pytestmark = pytest.mark.timeout(300)


def test_ranks_that_differ_are_told_apart_while_they_run(tmp_path: Path) -> None:
    go, log, folder = tmp_path / "go", tmp_path / "log", tmp_path / "run"
    options = ("--torchrun", "-n", 3, "--dir", folder)
    command = words("run", *options, PROGRAM, "shape", "flag", "branch", f"wait={go}")
    with begun(log, command) as process:
        for expected in (
            f": shape at {place('shape')}: L['x']: size=[",
            f": flag at {place('flag')}: L['training'] == ",
            f": branch at {place('left branch')} | {place('right branch')}: compiled left | ",
        ):
            wait_for_text(log, expected, process)
        go.touch()
        assert process.wait(DEADLINE_S) == 0, log.read_text()
    shown = call("diff", folder, "--json")
    assert shown.status == 1, shown.err
    found = json.loads(shown.out)["divergences"]
    assert found[0]["left_ranks"] == [0, 1]
    assert found[0]["right_ranks"] == [2]
    first = found[0]["differences"][0]
    assert (first["kind"], first["left"]["user"]["line"]) == ("shape", line_of("shape"))
    kinds = [one["differences"][0]["kind"] for one in found]
    assert kinds == ["shape", "flag", "branch"]
    run = record.load(folder)
    assert run is not None
    assert [end.state for end in run.ranks] == ["ended"] * 3
    assert len(run.warned) == 3
    page = (folder / "index.html").read_text()
    assert place("flag") in page
    same = call("diff", folder, "--ranks", 0, 1)
    assert (same.status, same.err) == (0, "")
    assert "the same 4 compilations" in same.out


def test_a_rank_that_dies_is_named_and_leaves_what_it_had(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ran = call("run", "--torchrun", "--dir", folder, PROGRAM, "die")
    assert ran.status == 1
    assert "rank 1 killed: killed by SIGKILL" in ran.err
    assert f"it compiled last left, {PROGRAM}" in ran.err
    assert "rank 0 stopped: ended after rank 1" in ran.err
    run = record.load(folder)
    assert run is not None
    assert [end.status for end in run.ranks][1] == -signal.SIGKILL
    for rank in (0, 1):
        compiled = [one.user.function for one in load(folder / f"rank_{rank}").compiles]
        assert compiled[:2] == ["sized", "layer"]
    assert compiled[-1] == "left"
    assert (folder / "rank_1" / "full_code.py").exists()


def test_ranks_that_agree_give_no_difference_by_inductor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND", "inductor")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    ran = call("run", "--torchrun", "--dir", folder, PROGRAM)
    assert ran.status == 0, ran.err
    assert "2 ranks have compiled the same" in ran.err
    assert "diverge" not in ran.err
    shown = call("diff", folder)
    assert (shown.status, shown.err) == (0, "")
