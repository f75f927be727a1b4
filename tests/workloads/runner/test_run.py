"""A run from its options to its report, on a real Ray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.workloads.runner import squares
from tests.workloads.runner.squares import Options

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner import (
    EXIT_SOME_FAILED,
    ClusterTooSmall,
    FolderRefused,
    Run,
    RunStalled,
    record,
)

pytestmark = pytest.mark.usefixtures("local_ray")


def test_run_leaves_its_record_and_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert squares.main(Options(output=folder, numbers=(3, 1, 2), seed=5)) == 0
    read = record.load(folder)
    assert read.result["sum"] == 14.0
    assert read.tables["squares"].rows == [["3", 9.0], ["1", 1.0], ["2", 4.0]]
    assert (read.method, read.seed, read.failed, read.error) == ("squares", 5, [], None)
    assert read.cluster["cpus"] == 2
    assert read.versions["ray"][0].isdigit()
    assert read.argv
    assert read.seconds["total"] > 0
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert (folder / "the_squares.png").stat().st_size > 1000
    assert "squares" in capsys.readouterr().out


def test_failed_part_is_named_and_the_rest_comes_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status = squares.main(Options(output=folder, numbers=(12, 13, 14)))
    assert status == EXIT_SOME_FAILED
    read = record.load(folder)
    assert [row[0] for row in read.tables["squares"].rows] == ["12", "14"]
    assert [(one.key, one.reason) for one in read.failed] == [
        ("13", "ValueError: 13 is unlucky"),
    ]
    assert "13 is unlucky" in (folder / "report.html").read_text()


def test_killed_worker_changes_nothing(tmp_path: Path) -> None:
    numbers = tuple(range(1, 9))
    whole = Options(output=tmp_path / "whole", numbers=numbers)
    hurt = Options(output=tmp_path / "hurt", numbers=numbers, killed=tmp_path / "killed")
    assert squares.main(whole) == squares.main(hurt) == 0
    assert (tmp_path / "killed").exists()
    assert record.load(tmp_path / "hurt").result == record.load(tmp_path / "whole").result


def test_resumed_run_computes_only_what_is_missing(tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    counted.mkdir()
    stuck = Options(output=tmp_path / "run", numbers=(1, 2, 17, 3), counted=counted, deadline_s=5.0)
    with pytest.raises(RunStalled, match=r"1 parts are waited for, among them 17"):
        squares.main(stuck)
    assert "RunStalled" in str(record.load(tmp_path / "run").error)
    before = {path.name for path in counted.iterdir()}
    job = json.loads((tmp_path / "run" / "job.json").read_text())
    job["options"]["numbers"] = [1, 2, 4, 3]
    (tmp_path / "run" / "job.json").write_text(json.dumps(job))
    on = Options(output=tmp_path / "run", numbers=(1, 2, 4, 3), counted=counted, resume=True)
    assert squares.main(on) == 0
    assert {path.name.partition("-")[0] for path in counted.iterdir()} - {
        name.partition("-")[0] for name in before
    } == {"4"}
    assert len(list(counted.iterdir())) == len(before) + 1
    read = record.load(tmp_path / "run")
    assert (read.resumed, read.result["sum"]) == (3, 30.0)


def test_a_value_of_other_data_is_computed_anew(tmp_path: Path) -> None:
    given = Options(output=tmp_path / "run")
    with Run.start("squares", given) as run:
        for versions, resumed in ((["a", "a"], 0), (["a", "b"], 1), (["a", "a"], 2), ([], 0)):
            run.record.resumed = 0
            found = run.map(
                squares.square, [2, 3], keys=["2", "3"], versions=versions, shared=(given,)
            )
            assert [one["square"] for one in found if isinstance(one, dict)] == [4.0, 9.0]
            assert run.record.resumed == resumed


def test_resumed_run_must_be_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    squares.main(Options(output=folder, numbers=(1,)))
    with pytest.raises(FolderRefused, match=r"not empty.*--resume"):
        squares.main(Options(output=folder, numbers=(1,)))
    with pytest.raises(FolderRefused, match=r"power = 2\.0, not 3\.0"):
        squares.main(Options(output=folder, numbers=(1,), power=3.0, resume=True))
    with pytest.raises(FolderRefused, match=r"seed = 0, not 1"):
        squares.main(Options(output=folder, numbers=(1,), seed=1, resume=True))
    assert squares.main(Options(output=folder, numbers=(1,), cpus=1, resume=True)) == 0


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderRefused, match=r"holds no run that could be resumed"):
        squares.main(Options(output=tmp_path, resume=True))
    (tmp_path / "job.json").write_text(json.dumps({"method": "cubes", "options": {}}))
    with pytest.raises(FolderRefused, match=r"a run of cubes, not of squares"):
        squares.main(Options(output=tmp_path, resume=True))
    (tmp_path / "file").touch()
    with pytest.raises(FolderRefused, match=r"cannot be used"):
        squares.main(Options(output=tmp_path / "file"))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_cannot_be_mapped_is_said(tmp_path: Path) -> None:
    with Run.start("squares", Options(output=tmp_path / "run")) as run:
        with pytest.raises(ArgumentError, match=r"2 items need as many different keys"):
            run.map(squares.square, [1, 2], keys=["a", "a"])
        with pytest.raises(ClusterTooSmall, match=r"asks for 99 CPUs.*more than 2"):
            run.map(squares.square, [1], keys=["a"], shared=(Options(),), cpus=99)
        with pytest.raises(ClusterTooSmall, match=r"asks for 1 GPUs"):
            run.map(squares.square, [1], keys=["a"], shared=(Options(),), gpus=1)


def test_numbers_that_json_lacks_are_text(tmp_path: Path) -> None:
    with Run.start("squares", Options(output=tmp_path / "run")) as run:
        run.result["odd"] = [np.inf, -np.inf, np.nan, 1.0]
    assert record.load(tmp_path / "run").result["odd"] == ["inf", "-inf", "nan", 1.0]
