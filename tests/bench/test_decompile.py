"""The bench of the decompiler, on a small library."""

from __future__ import annotations

import marshal
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

def strange(x):
    try:
        try:
            return 1 // x
        finally:
            if x == 2:
                return "swallowed"
    except ZeroDivisionError as error:
        return str(error)
"""


def test_a_small_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "library"
    (library / "site-packages").mkdir(parents=True)
    (library / "a.py").write_text(LIBRARY)
    (library / "broken.py").write_text("def f(:")
    (library / "site-packages" / "b.py").write_text("def f(): pass")
    files: dict[str, Any] = {"json": tmp_path / "a.json", "plot": tmp_path / "a.png"}
    assert decompile.main(decompile.Options(corpora=(library,), **files)) == 0
    counts = {
        series.point["outcome"]: series.point["functions"] for series in load(files["json"]).series
    }
    assert counts == {"proved": 2, "loop": 1}
    out = capsys.readouterr().out
    assert "66.67" in out
    assert "100.00" in out
    assert files["plot"].stat().st_size


FAKE = """
class DecompilationError(Exception):
    pass

class Decompiler:
    def __init__(self, code):
        self.code = code

    def decompile(self, overwite_fn_name):
        name = self.code.co_name
        if name == "refused":
            raise DecompilationError("Instruction(opname='SWAP')")
        text = "def %s(x):\\n    return " % overwite_fn_name
        return text + {"right": "x", "wrong": "not x"}.get(name, "(")
"""
THREE = "\n".join(
    f"def {name}(x):\n    return x" for name in ("right", "wrong", "broken", "refused")
)


def test_a_rival_is_judged_by_the_same_proof(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, corpus = tmp_path / "rival" / "depyf", tmp_path / "corpus"
    package.mkdir(parents=True)
    corpus.mkdir()
    (package / "__init__.py").touch()
    (package / "decompiler.py").write_text(FAKE)
    (corpus / "a.py").write_text(THREE)
    path = tmp_path / "a.json"
    given = decompile.Options(corpora=(corpus,), depyf=package.parent, json=path)
    assert decompile.main(given) == 0
    points = [series.point for series in load(path).series if series.contender == "depyf"]
    assert {(point["outcome"], point["cause"]) for point in points} == {
        ("proved", ""),
        ("differs", ""),
        ("broken", ""),
        ("refused", "SWAP"),
    }
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.split()[1:2] == ["depyf"]]
    assert rows[0][2:6] == ["4", "75.00", "50.00", "25.00"]


def test_stored_code_of_dynamo(tmp_path: Path) -> None:
    code = compile(THREE, "three", "exec").co_consts[0]
    (tmp_path / "0.code").write_bytes(marshal.dumps(code))
    (tmp_path / "1.code").write_bytes(b"")
    path = tmp_path / "a.json"
    assert decompile.main(decompile.Options(corpora=(tmp_path,), json=path)) == 0
    (series,) = load(path).series
    assert (series.point["outcome"], series.point["functions"]) == ("proved", 1)


def test_a_proof_that_does_not_hold_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.py").write_text("def f(x):\n    return x")
    monkeypatch.setattr(decompile_outcome, "verify", lambda code, source: Verdict(proved=False))
    assert decompile.main(decompile.Options(corpora=(tmp_path,))) == 1


def test_a_crash_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(code: object) -> None:
        raise KeyError(code)

    (tmp_path / "a.py").write_text("def f(x):\n    return x")
    monkeypatch.setattr(decompile_outcome, "Decompilation", crash)
    assert decompile.main(decompile.Options(corpora=(tmp_path,))) == 1


def test_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="no functions"):
        decompile.main(decompile.Options(corpora=(tmp_path,)))
