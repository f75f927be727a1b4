"""The decompiler in other versions of CPython, on their own standard libraries and programs."""

from __future__ import annotations

import json

import pytest
from tests.decompile.interpreters import packages, running
from tests.decompile.interpreters.measuring import measured

EVERY = 25
"""Of so many files of a library one is decompiled; all of them by ``python -m`` of the folder."""
SECONDS_MAX = 110
PROGRAMS_MIN = 90


@pytest.mark.parametrize("python", packages.PACKAGES)
def test_a_sample_of_the_library_is_proved(python: str) -> None:
    found = measured(python, EVERY, SECONDS_MAX)
    total = sum(one.functions for one in found)
    shares = {kind: sum(o.functions for o in found if o.outcome == kind) for kind in KINDS}
    others = [one for one in found if one.outcome != "proved"]
    assert total > 200
    assert not any(one.wrong for one in found), others
    assert shares["crashed"] == 0, others
    assert shares["proved"] >= 0.99 * total, others
    assert shares["loop"] <= 0.01 * total, others


KINDS = ("proved", "loop", "refused", "crashed")


@pytest.mark.parametrize("python", packages.PACKAGES)
def test_programs_behave_the_same(python: str) -> None:
    lines = running.run(python, "behaviour.py", seconds=SECONDS_MAX).splitlines()
    *faults, (what, count) = map(json.loads, lines)
    assert what == "programs"
    assert count >= PROGRAMS_MIN
    assert not faults


@pytest.mark.parametrize("python", packages.PACKAGES)
def test_hostile_code_ends_in_a_typed_error(python: str) -> None:
    lines = running.run(python, "hostile.py", seconds=SECONDS_MAX).splitlines()
    *faults, counts = map(json.loads, lines)
    assert not faults
    assert sum(counts.values()) > 500
    assert counts["CorruptCode"] > 100


def test_a_wrong_digest_is_refused(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    package = packages.Package(version="0.26.4", integrity="sha512-AAAA")
    monkeypatch.setattr(packages, "PACKAGES", {"3.12": package})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(packages.PackageFailed, match="digest"):
        packages.folder("3.12")
    assert not list(tmp_path.rglob("*.wasm"))


def test_a_script_that_fails_says_so(tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "script.py"
    script.write_text("raise ValueError('what is wrong')")
    with pytest.raises(running.ScriptFailed, match="what is wrong"):
        running.run("3.12", str(script), seconds=SECONDS_MAX)
