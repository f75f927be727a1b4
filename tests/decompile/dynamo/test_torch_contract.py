"""This torch has what dumps rest on; of another one they say what they lack."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch._inductor.codecache
from tests.decompile.dynamo.dumps import eager, scaled
from torch._dynamo import resume_execution

from crossdock.decompile.dynamo import load, prepare_debug, torch_contract


@pytest.fixture(autouse=True)
def unsaid() -> Iterator[None]:
    """As in a process that has not warned yet."""
    torch_contract.warn.cache_clear()
    yield
    torch_contract.warn.cache_clear()


def test_the_installed_torch_is_tested_and_has_all_parts() -> None:
    assert torch_contract.untested(torch.__version__) is None
    assert list(torch_contract.missing()) == []


@pytest.mark.parametrize("version", ["2.13.0+cpu", "2.13.1", "2.14.1+cu130", "2.14.0a0+git1"])
def test_tested_versions(version: str) -> None:
    assert torch_contract.untested(version) is None


@pytest.mark.parametrize("version", ["2.12.1", "2.15.0", "3.0", "1.99.0", "2", "nightly"])
def test_other_versions(version: str) -> None:
    said = torch_contract.untested(version)
    assert said is not None
    assert said.startswith(f"torch is {version}, but dumps were tested with 2.13 up to, ")


def test_another_version_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            with prepare_debug(tmp_path / name):
                pass
    assert [one.levelname for one in caplog.records if "torch is 2.99.0" in one.message] == [
        "WARNING"
    ]


@pytest.mark.usefixtures("fresh")
def test_a_dump_says_what_torch_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(resume_execution.ContinueExecutionCache, "cache")
    with prepare_debug(tmp_path):
        assert eager(scaled(2.0))(torch.ones(2)).tolist() == [3.0, 3.0]
    (fault,) = load(tmp_path).faults
    assert "torch._dynamo.resume_execution.ContinueExecutionCache.cache" in fault
    assert fault.endswith("no resume functions")
