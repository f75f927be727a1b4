"""Engines that differ from what was tested are refused, with what is different about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from crossdock.serving.contract import Contract, Hook, broken_hooks

_HOOK = Hook("a/b.py", "Manager", "dispatch", ("self", "x", "ids"), unused="ids")
_CONTRACT = Contract("engine_of_nobody", ("engine-of-nobody",), (0, 32), (0, 33), ())


def engine(folder: Path, method: str) -> Path:
    (folder / "a").mkdir()
    (folder / "a" / "b.py").write_text(f"class Manager:\n    {method}\n")
    return folder


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("def dispatch(self, x, ids): return x", None),
        ("def dispatch(self, x, ids): return ids", "Manager.dispatch uses ids"),
        ("def dispatch(self, x): return x", "Manager.dispatch takes self, x, not self, x, ids"),
        ("def send(self, x, ids): return x", "Manager.dispatch is missing in a/b.py"),
    ],
)
def test_hook_in_source(tmp_path: Path, method: str, expected: str | None) -> None:
    assert broken_hooks(engine(tmp_path, method), [_HOOK]) == (
        [] if expected is None else [expected]
    )


def test_missing_file(tmp_path: Path) -> None:
    assert broken_hooks(tmp_path, [_HOOK]) == ["a/b.py is missing, where Manager.dispatch was"]


def test_function_of_a_module(tmp_path: Path) -> None:
    hook = dataclasses.replace(_HOOK, class_name=None, parameters=("x",), unused=None)
    (engine(tmp_path, "pass") / "a" / "b.py").write_text("def dispatch(x): return x\n")
    assert broken_hooks(tmp_path, [hook]) == []


@pytest.mark.parametrize("version", ["0.32.0", "0.32.0+cpu", "0.32.7"])
def test_versions_that_are_served(version: str) -> None:
    assert _CONTRACT.refusal_of_version(version) is None


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0", "1.0", "unknown", "dev"])
def test_versions_that_are_not_served(version: str) -> None:
    reason = _CONTRACT.refusal_of_version(version)
    assert reason is not None
    assert version in reason
    assert "0.32 up to, but without, 0.33" in reason


def test_engine_that_is_not_installed() -> None:
    assert "unknown" in (_CONTRACT.refusal() or "")
