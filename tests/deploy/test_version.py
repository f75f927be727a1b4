"""`crossdock version`."""

from __future__ import annotations

import json
import platform
from importlib import resources
from pathlib import Path

import pytest

from crossdock.deploy import version


def test_json_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert version.main(version.Options(json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found)[:6] == ["crossdock", "git", "compiler", "build", "python", "torch"]
    assert found["python"] == platform.python_version()
    assert all(found.values())


def test_table_shows_what_json_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert version.main(version.Options()) == 0
    shown = capsys.readouterr().out
    for name, value in version.versions().items():
        assert name in shown
        assert value in shown


def test_unbuilt_tree_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    found = version.versions()
    assert found["compiler"] == found["git"] == found["build"] == version.UNBUILT


def test_build_facts_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = {"git": "abc", "compiler": "GNU 12", "build_type": "Debug", "sanitizers": "thread"}
    (tmp_path / "build.json").write_text(json.dumps(facts))
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    found = version.versions()
    assert (found["git"], found["compiler"], found["build"]) == ("abc", "GNU 12", "Debug thread")
