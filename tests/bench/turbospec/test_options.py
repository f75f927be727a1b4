"""What cannot be run is refused before anything is."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest

from crossdock.bench import turbospec
from crossdock.bench.errors import BaselineMissing
from crossdock.bench.turbospec import models
from crossdock.proxy.errors import ArgumentError

HERE = importlib.util.find_spec("vllm") is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clock": "sun"}, "clock has 'sun'"),
        ({"scenario": "six"}, "scenario has 'six'"),
        ({"seeds": 0}, "seeds is 0"),
        ({"phase_s": 0.0}, "phase-s is 0.0"),
        ({"limit_s": float("nan")}, "limit-s is nan"),
    ],
)
def test_bad_options_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        turbospec.Options(**given)  # type: ignore[arg-type]


def test_settings_can_be_saved() -> None:
    settings = turbospec.Options(profile=pathlib.Path("a"), report=pathlib.Path("b")).settings()
    assert settings["profile"] == "a"
    assert settings["seeds"] == 5


@pytest.mark.skipif(HERE, reason="vLLM is installed")
def test_without_vllm_it_says_how_to_get_it() -> None:
    with pytest.raises(BaselineMissing, match="pip install vllm"):
        turbospec.main(turbospec.Options())


def test_models_are_written_as_a_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    def fail(fresh: pathlib.Path) -> None:
        (fresh / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models._kept(tmp_path / "model", fail)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        kept = models._kept(tmp_path / "model", lambda fresh: (fresh / "whole").touch())
    assert [path.name for path in kept.iterdir()] == ["whole"]
    again = models._kept(kept, fail)  # it is there, so nothing is written
    assert again == kept
