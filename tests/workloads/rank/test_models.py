"""What is found in folders, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.workloads.rank.folders import describe, headed, one, reason

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank.models import Model, find
from crossdock.workloads.runner import Failed


def test_a_description_brings_its_files(tmp_path: Path) -> None:
    headed(tmp_path, "small", 0, outputs=5)
    model = one(tmp_path)
    assert (model.name, model.factory, model.head) == ("small", "parts.py:headed", "2")
    assert model.arguments == {"outputs": 5}
    assert model.weights == (tmp_path / "small.safetensors").read_bytes()
    assert model.code == (tmp_path / "parts.py").read_bytes()


def test_a_folder_of_a_model_is_one(tmp_path: Path) -> None:
    describe(tmp_path / "mine", "model", "headless", "accuracy = 0.5", "shape = [2, 2]")
    model = one(tmp_path)
    assert (model.name, model.accuracy, model.shape, model.weights) == ("mine", 0.5, (2, 2), None)


def test_places_are_folders_libraries_and_functions(tmp_path: Path) -> None:
    describe(tmp_path, "mine", "headless", 'name = "ours"')
    found = find([str(tmp_path), "timm:resnet18", "package.module:function", "nowhere"])
    assert [one.name for one in found if isinstance(one, Model)] == [
        "ours",
        "timm:resnet18",
        "package.module:function",
    ]
    (unknown,) = [one for one in found if isinstance(one, Failed)]
    assert unknown.key == "nowhere"
    assert "neither a folder, nor LIBRARY:NAME, nor MODULE:FUNCTION" in unknown.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("factory = ", "bad.toml: "),
        ("head = 'fc'", "missing required field `factory`"),
        ("factory = 'a:b'\nwidth = 3", "unknown field `width`"),
        ("factory = 'a:b'\naccuracy = 'high'", "Expected `float | null`"),
        (
            "factory = 'a:b'\nweights = 'lost.safetensors'",
            "there is no checkpoint lost.safetensors",
        ),
        ("factory = 'lost.py:b'", "lost.py"),
    ],
)
def test_a_bad_description_is_the_models_failure(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    assert said in reason(tmp_path)


def test_a_checkpoint_without_a_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "lonely.safetensors").write_bytes(b"")
    assert reason(tmp_path) == "no description lonely.toml beside lonely.safetensors"


def test_two_descriptions_may_share_a_checkpoint(tmp_path: Path) -> None:
    headed(tmp_path, "first", 0)
    for name in ("second", "third"):
        describe(tmp_path, name, "headed", 'weights = "first.safetensors"')
    found = find([str(tmp_path)])
    assert [model.name for model in found if isinstance(model, Model)] == [
        "first",
        "second",
        "third",
    ]


def test_names_are_single_and_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no model in"):
        find([str(tmp_path)])
    describe(tmp_path, "one", "headless")
    with pytest.raises(ArgumentError, match="two models are called one"):
        find([str(tmp_path), str(tmp_path)])
