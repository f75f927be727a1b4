"""Each run has a folder of its own, or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner import FolderRefused, RunOptions, folder, record, report
from crossdock.workloads.runner.cluster import Cluster


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = [folder.prepare("squares", RunOptions(seed=seed)) for seed in range(4)]
    assert len(set(made)) == 4
    for seed, each in enumerate(made):
        assert json.loads((each / folder.JOB).read_text())["options"] == {"seed": seed}


def test_of_two_runs_that_begin_in_one_folder_at_once_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = folder._begin

    def late(where: Path, job: dict[str, Any]) -> bool:
        assert begin(where, {"method": "cubes", "options": {}})
        return begin(where, job)

    monkeypatch.setattr(folder, "_begin", late)
    with pytest.raises(FolderRefused, match="not empty"):
        folder.prepare("squares", RunOptions(output=tmp_path / "run"))
    assert json.loads((tmp_path / "run" / folder.JOB).read_text())["method"] == "cubes"


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *mode: Any, **named: Any) -> Any:
        if path.name == folder.JOB:
            raise OSError(30, "Read-only file system")
        return opened(path, *mode, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FolderRefused, match=r"run cannot be used: Read-only file system"):
        folder.prepare("squares", RunOptions(output=tmp_path / "run"))


def test_resume_wants_to_know_what() -> None:
    with pytest.raises(ArgumentError, match="--resume goes on with a folder; name it"):
        RunOptions(resume=True)


def test_a_report_holds_any_name_of_a_file(tmp_path: Path) -> None:
    given = RunOptions(output=tmp_path)
    made = record.record("squares", given, Cluster("here", 1, 1.0, 1.0, 0.0))
    made.argv = ["caf\u00e9 \u6a21\u578b", "\udcff"]
    made.save(tmp_path)
    report.write(made, tmp_path)
    assert "caf\u00e9 \u6a21\u578b ?" in (tmp_path / report.FILE).read_text(encoding="utf-8")
