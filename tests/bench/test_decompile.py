"""The bench of the decompiler, on a small library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crossdock.bench import decompile, decompile_outcome
from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import load
from crossdock.decompile import Verdict

LIBRARY = """
def plain(x):
    for i in x:
        yield i

class C:
    def method(self):
        def inner():
            return self
        return inner

def strange(subject):
    match subject:
        case [1, *rest]:
            return rest
"""


def test_a_small_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "library"
    (library / "site-packages").mkdir(parents=True)
    (library / "a.py").write_text(LIBRARY)
    (library / "broken.py").write_text("def f(:")
    (library / "site-packages" / "b.py").write_text("def f(): pass")
    files: dict[str, Any] = {"json": tmp_path / "a.json", "plot": tmp_path / "a.png"}
    assert decompile.main(decompile.Options(library=library, **files)) == 0
    counts = {
        series.point["outcome"]: series.point["functions"] for series in load(files["json"]).series
    }
    assert counts == {"proved": 2, "loop": 1}
    out = capsys.readouterr().out
    assert "3 functions" in out
    assert "66.67" in out
    assert files["plot"].stat().st_size


def test_a_proof_that_does_not_hold_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("def f(x):\n    return x")
    monkeypatch.setattr(decompile_outcome, "verify", lambda code, source: Verdict(proved=False))
    assert decompile.main(decompile.Options(library=tmp_path)) == 1


def test_a_crash_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(code: object) -> None:
        raise KeyError(code)

    (tmp_path / "a.py").write_text("def f(x):\n    return x")
    monkeypatch.setattr(decompile_outcome, "Decompilation", crash)
    assert decompile.main(decompile.Options(library=tmp_path)) == 1


def test_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="no functions"):
        decompile.main(decompile.Options(library=tmp_path))
