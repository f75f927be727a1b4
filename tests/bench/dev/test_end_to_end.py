"""A small run: no figure is judged, only that all are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from crossdock.bench import dev
from crossdock.bench.dev import adaptation
from crossdock.bench.dev.domains import domains
from crossdock.proxy.errors import ArgumentError


def test_dev(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "dev.json", tmp_path / "dev.png"
    given = dev.Options(
        seeds=2, candidates=2, trials=5, tasks="biased", jobs=1, json=file, plot=picture
    )
    assert dev.main(given) == 0
    saved = json.loads(file.read_text())
    assert len(saved["toys"]) == 10
    assert [trial["seed"] for trial in saved["trials"]] == [0, 1]
    selectors = {series["contender"] for series in saved["series"]}
    assert len(selectors) == 14
    assert {"DEV, logistic, CE", "IWCV, MLP, 0-1", "source risk, CE", "BNM"} <= selectors
    for trial in saved["trials"]:
        assert all(set(one["scores"]) == selectors for one in trial["candidates"])
    rows = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert len(rows) == 10 + 14 + 1
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": "biased,moved"}, "'moved'"),
        ({"candidates": 1}, "candidates is 1"),
        ({"candidates": len(adaptation.RECIPES) + 1}, "candidates is 25"),
        ({"seeds": 0}, "seeds is 0"),
        ({"trials": 1}, "trials is 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dev.Options(**options)


def test_recipes_are_as_many_as_promised_and_all_different() -> None:
    assert len({recipe.name for recipe in adaptation.RECIPES}) == len(adaptation.RECIPES) >= 15


@pytest.mark.parametrize("method", ["coral", "dann"])
def test_strong_adaptation_makes_features_alike(method: str) -> None:
    data = domains("rotated", 0)

    def gap(strength: float) -> float:
        network = adaptation.train(adaptation.Recipe(method, strength, 32, 20), data, 0)
        near, far = (
            torch.from_numpy(adaptation.outputs(network, images).features)
            for images in (data.train, data.target)
        )
        moments = (near.T.cov() - far.T.cov()).norm() / near.T.cov().norm()
        shift = (near.mean(0) - far.mean(0)).norm() / near.std(0).norm()
        return float(moments if method == "coral" else shift)

    weak, strong = (gap(0.0), gap(100.0)) if method == "coral" else (gap(0.0), gap(1.0))
    assert strong < 0.8 * weak


def test_the_gradient_is_turned_round_and_scaled() -> None:
    features = torch.ones(3, requires_grad=True)
    turned = adaptation._Reverse.apply(features, 2.0)  # type: ignore[no-untyped-call]
    turned.sum().backward()
    assert torch.equal(turned, features)
    assert features.grad is not None
    assert features.grad.tolist() == [-2.0] * 3
