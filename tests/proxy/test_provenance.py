"""What made this."""

from __future__ import annotations

import json
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from crossdock.proxy import provenance


def without_git(*_args: object, **_options: object) -> None:
    raise FileNotFoundError("git")


def test_without_git_the_build_tells_the_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subprocess, "run", without_git)
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    assert provenance.git_revision() == provenance.UNKNOWN
    (tmp_path / "build.json").write_text(json.dumps({"git": "abc"}))
    assert provenance.git_revision() == "abc"


def test_git_tells_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout="v1-dirty\n")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: done)
    assert provenance.git_revision() == "v1-dirty"


def test_missing_library_is_said() -> None:
    assert provenance.library_version("no-such-distribution-here") == provenance.ABSENT
    assert provenance.library_version("numpy")[0].isdigit()
