"""`crossdock decompile`: what is refused, and what is shown of dumps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.decompile.cluster.ranks import dump
from tests.decompile.dynamo.dumps import BREAK_LINE, broken, eager

from crossdock.decompile.dynamo import index
from crossdock.deploy import cli
from crossdock.deploy.decompile import run


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three ranks of which the last has another value, and compiles again."""

    def body(*numbers: int) -> Any:
        def call() -> None:
            compiled = eager(broken, dynamic=False)
            for number in numbers:
                compiled(torch.ones(3), number)

        return call

    return dump(tmp_path_factory.mktemp("run"), [body(1), body(1), body(2, 3)])


def test_diff_shows_the_lines_of_both_sides(
    dumped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["decompile", "diff", str(dumped)]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("first divergence: broken, ")
    line = BREAK_LINE - 1
    assert shown.count(f">  {line:3}     y = x.sin() + n") >= 2
    assert "L['n'] == 1" in shown
    assert "L['n'] == 2" in shown
    assert "divergence 2" in shown


def test_diff_as_json(dumped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decompile", "diff", str(dumped), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ranks"] == [0, 1, 2]
    first = told["divergences"][0]
    assert (first["left_ranks"], first["right_ranks"]) == ([0, 1], [2])
    assert first["differences"][0]["left"]["user"]["line"] == BREAK_LINE - 1
    again = [one for one in told["divergences"] if one["differences"][0]["kind"] == "recompile"]
    assert "n == 2" in json.dumps(again)


def test_diff_of_ranks_that_agree(dumped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decompile", "diff", str(dumped), "--ranks", "0", "1"]) == 0
    assert capsys.readouterr().out == "ranks 0, 1: the same 2 compilations\n"
    assert cli.main(["decompile", "diff", str(dumped), "--ranks", "1", "2", "--json"]) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--ranks", "0", "7"], "rank 7 has no folder"),
        (["--ranks", "0"], "names no two ranks"),
        (["--ranks", "0", "x"], "names no two ranks"),
    ],
)
def test_diff_of_ranks_that_are_not_there(
    dumped: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["decompile", "diff", str(dumped), *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["diff", "explain"])
def test_folders_without_dumps(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["decompile", command, str(tmp_path)]) == 2
    assert "holds no dumps of ranks" in capsys.readouterr().err
    assert cli.main(["decompile", command, str(tmp_path / "absent")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_truncated_dumps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in (0, 1):
        (tmp_path / f"rank_{rank}").mkdir()
        (tmp_path / f"rank_{rank}" / index.FILE).write_text('{"format": 1, "compiles": [')
    for command in ("diff", "explain"):
        assert cli.main(["decompile", command, str(tmp_path)]) == 2
        assert "rank 0 cannot be used" in capsys.readouterr().err


def test_explain_says_why(
    dumped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert cli.main(["decompile", "explain", str(dumped), "--rank", "2"]) == 0
    shown = capsys.readouterr().out
    assert "graph breaks: 2" in shown
    assert f":{BREAK_LINE} in broken" in shown
    assert f">  {BREAK_LINE:3}     torch._dynamo.graph_break()" in shown
    assert "compiled again: 1" in shown
    assert "0/0: n == 2, from " in shown
    assert "L['n'] == 2" in shown
    assert "L['n'] == 3" in shown
    assert cli.main(["decompile", "explain", str(dumped / "rank_0")]) == 0
    assert "compiled again: 0" in capsys.readouterr().out
    assert cli.main(["decompile", "explain", str(dumped), "--rank", "5"]) == 2


def test_explain_leads_from_a_line_of_the_dump_to_the_users(
    dumped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    (resume,) = [one for one in index.load(dumped / "rank_0").artifacts if one.kind == "resume"]
    last = resume.lines[-1]
    place = f"{resume.file}:{last.line}"
    assert cli.main(["decompile", "explain", str(dumped), "--line", place]) == 0
    shown = capsys.readouterr().out
    assert f"{BREAK_LINE + 1}: byte {last.offset} of torch_dynamo_resume_in_broken" in shown
    assert f">  {BREAK_LINE + 1:3}     return y.cos()" in shown
    assert f"> {last.line:4}     return y.cos()" in shown
    assert cli.main(["decompile", "explain", str(dumped), "--line", f"{resume.file}:1"]) == 2
    assert "has no code; lines with code: " in capsys.readouterr().err


def status_of(*words: str) -> int:
    """Also where the options alone are refused."""
    try:
        return cli.main(["decompile", *words])
    except SystemExit as error:
        return int(error.code or 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--torchrun", "absent.py"], "absent.py is no file"),
        (["absent.py"], "give one of --ray and --torchrun"),
        (["--ray", "--torchrun", "absent.py"], "give one of --ray and --torchrun"),
        (["--torchrun", "-n", "0", "x.py"], "-n 0 is out of range; give 1 to 4096"),
        (["--ray", "-n", "4097", "x.py"], "-n 4097 is out of range"),
        (["--torchrun", "--deadline-s", "0", "x.py"], "--deadline-s 0.0 is not above 0"),
        (["--ray", "--gpus", "-1", "x.py"], "--gpus -1.0 is below 0"),
        (["--ray", "--address", "10.0.0.1", __file__], "is no address"),
    ],
)
def test_runs_that_cannot_be(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert status_of("run", *words) == 2
    assert told in capsys.readouterr().err


def test_a_folder_that_is_taken_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").touch()
    words = ["decompile", "run", "--torchrun", "--dir", str(tmp_path), __file__]
    assert cli.main(words) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "separated"),
    [
        (
            ["--ray", "-n", "3", "s.py", "--lr", "3"],
            ["--ray", "-n", "3", "--", "s.py", "--lr", "3"],
        ),
        (["--dir=x", "--torchrun", "s.py"], ["--dir=x", "--torchrun", "--", "s.py"]),
        (["--ray", "--", "s.py", "-x"], ["--ray", "--", "s.py", "-x"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_what_follows_the_script_is_its_own(words: list[str], separated: list[str]) -> None:
    assert run.separated(words) == separated
