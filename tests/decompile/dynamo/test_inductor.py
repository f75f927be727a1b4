"""Inductor's code, dumped and run from the dump."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.decompile.dynamo.dumps import index_of, of_kind

from crossdock.decompile.dynamo import prepare_debug

pytestmark = pytest.mark.usefixtures("fresh")


def test_inductors_code_runs_from_the_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    compiled = torch.compile(lambda x: torch.relu(x) + 1)
    with prepare_debug(tmp_path / "dump"):
        assert compiled(torch.tensor([-1.0, 2.0])).tolist() == [1.0, 3.0]
    index = index_of(tmp_path / "dump")
    (code,) = of_kind(index, "inductor")
    assert (code.compile_id, code.standing, code.runs_from) == ("0/0", "runs", None)
    path = tmp_path / "dump" / code.file
    assert "def call(" in path.read_text()
    assert of_kind(index, "post_grad_graph")
    cached = [one for one in (tmp_path / "cache").rglob("*.py") if "def call(" in one.read_text()]
    assert [one.read_text() for one in cached] == [path.read_text()]
    files = called_files(compiled)
    assert str(path) in files
    assert str(cached[0]) not in files


def called_files(compiled: object) -> set[str]:
    """The files of all Python functions that a call runs."""
    import sys

    files: set[str] = set()

    def look(frame: object, event: str, _: object) -> None:
        files.add(frame.f_code.co_filename)  # type: ignore[attr-defined]

    sys.setprofile(look)
    try:
        compiled(torch.tensor([1.0, 2.0]))  # type: ignore[operator]
    finally:
        sys.setprofile(None)
    return files
