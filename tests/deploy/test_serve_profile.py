"""`crossdock serve profile` on an engine that is none: options, tables, the file."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Any

import pytest
from rich.console import Console
from tests.serving.turbospec.test_profile import KEY
from tests.serving.turbospec.test_profiling import Synthetic

from crossdock.deploy import cli
from crossdock.deploy.serve import profile
from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec.profile import Profile, load

HERE = importlib.util.find_spec("vllm") is not None
WANTED = ["--model", "m", "--speculative-config", '{"method": "ngram"}']


def options(**given: Any) -> profile.Options:
    return profile.Options(**{"model": "m", "speculative_config": '{"method": "ngram"}', **given})


def synthetic(given: profile.Options, console: Console) -> Profile:
    engine = Synthetic(most_tokens=128)
    cells, left_out = profile.walked(profile.grid_of(given, 64, 7), engine, 60, console)
    return profile.made(KEY, cells, left_out)


def test_is_measured_shown_and_kept(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(profile, "measured", synthetic)
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "kept.json"
    assert cli.main(["serve", "profile", *WANTED, "--out", str(file)]) == 0
    found = load(file)
    assert found.key == KEY
    assert {cell.requests for cell in found.cells} == {1, 2, 4, 8, 16, 32, 64}
    assert {cell.draft_length for cell in found.cells} == set(range(8))
    text = capsys.readouterr().out
    assert "relative error of the fit" in text
    assert "median" in text
    assert "P90" in text
    assert "R2" in text
    assert "left out: 64 requests with 32 tokens each: lengths 2, 3, 4, 5, 6, 7" in text
    assert f"saved as {file}" in text


def test_grid_is_what_was_asked_for_or_what_the_engine_can() -> None:
    grid = profile.grid_of(options(), 48, 3)
    assert list(grid.requests) == [1, 2, 4, 8, 16, 32, 48]
    assert list(grid.lengths) == [0, 1, 2, 3]
    grid = profile.grid_of(options(batches="1,5", contexts="7", lengths="0,2", repeats=2), 48, 3)
    assert (list(grid.requests), list(grid.contexts), list(grid.lengths)) == ([1, 5], [7], [0, 2])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"speculative_config": "{"}, "speculative-config must be a JSON object"),
        ({"speculative_config": "{}"}, "speculative-config is empty"),
        ({"engine_args": "[1]"}, "engine-args must be a JSON object"),
        ({"limit_s": 0.0}, "limit-s is 0.0"),
        ({"limit_s": float("nan")}, "limit-s is nan"),
        ({"out": pathlib.Path("/no/such/folder/x.json")}, "in no folder"),
    ],
)
def test_bad_options_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        options(**given)


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ArgumentError, match="batches is '1,x'"):
        profile.grid_of(options(batches="1,x"), 4, 4)


@pytest.mark.skipif(HERE, reason="vLLM is installed")
def test_without_vllm_it_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "profile", *WANTED]) == cli.EXIT_FAILED
    assert "pip install vllm" in capsys.readouterr().err
