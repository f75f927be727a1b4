"""A controller begins with the profile of its engine, and without one where there is none."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import msgspec
import pytest
from tests.serving.turbospec.test_profile import whole

from crossdock.serving.turbospec import store
from crossdock.serving.vllm import identity
from crossdock.serving.vllm.profiled import VARIABLE, costs_of


def config(method: str = "ngram", model: str | None = "ngram") -> Any:
    return types.SimpleNamespace(
        model_config=types.SimpleNamespace(model="a/b", dtype="torch.bfloat16", quantization="fp8"),
        speculative_config=types.SimpleNamespace(method=method, model=model),
        parallel_config=types.SimpleNamespace(tensor_parallel_size=2),
    )


@pytest.fixture(autouse=True)
def apart(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "kept"))
    monkeypatch.delenv(VARIABLE, raising=False)


def test_key_says_what_costs_depend_on() -> None:
    key = identity.key_of(config())
    assert key.model == "a/b bfloat16 fp8"
    assert key.draft == "ngram"
    assert key.hardware.startswith("2 x ")
    assert identity.key_of(config("draft_model", "c/d")).draft == "draft_model c/d"
    plain = config()
    plain.speculative_config = None
    assert identity.key_of(plain).draft == "none"


def test_profile_is_found_by_its_key() -> None:
    said: list[str] = []
    assert costs_of(config(), said.append) is None
    mine = msgspec.structs.replace(whole(), key=identity.key_of(config()))
    store.keep(mine)
    assert costs_of(config(), said.append) == mine.costs
    assert costs_of(config("suffix"), said.append) is None
    assert said == []


def test_profile_that_is_named_is_used(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    mine = msgspec.structs.replace(whole(), key=identity.key_of(config()))
    mine.save(tmp_path / "mine.json")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine.json"))
    assert costs_of(config(), said.append) == mine.costs
    assert said == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not a profile"),
        (None, "could not be read"),
        (msgspec.json.encode(whole()), "of another engine: model is 'llama' there"),
    ],
)
def test_bad_profile_is_one_warning(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, reason: str
) -> None:
    said: list[str] = []
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(VARIABLE, str(file))
    assert costs_of(config(), said.append) is None
    assert len(said) == 1
    assert reason in said[0]
    assert "costs are learnt while serving" in said[0]


def test_engine_that_has_no_key_is_one_warning() -> None:
    said: list[str] = []
    assert costs_of(types.SimpleNamespace(), said.append) is None
    assert "no profile is used" in said[0]
