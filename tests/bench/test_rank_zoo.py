"""The zoo of models: what it is, and that it comes out the same."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from crossdock.bench import rank_zoo
from crossdock.bench.rank_zoo import PRETEXTS, ZOO, Recipe


def test_it_is_large_and_varied() -> None:
    assert len(ZOO) == len({recipe.name for recipe in ZOO}) == 32
    for part in ("pretext", "width", "dimension", "epochs"):
        assert len({getattr(recipe, part) for recipe in ZOO}) > 1


def test_halves_share_no_picture() -> None:
    data = rank_zoo.digits()
    sizes = [len(half.digits) for half in (data.source, data.train, data.test)]
    assert sizes == [898, 449, 450]
    pictures = np.concatenate([data.source.pictures, data.train.pictures, data.test.pictures])
    assert len(np.unique(pictures, axis=0)) == 1797
    assert pictures.min() == 0
    assert pictures.max() == 1


@pytest.mark.parametrize("name", PRETEXTS)
def test_a_pretext_labels_every_picture(name: str) -> None:
    source = rank_zoo.digits().source
    made = PRETEXTS[name](source, np.random.default_rng(0))
    assert made.pictures.shape == source.pictures.shape
    counts = np.bincount(made.digits)
    assert len(counts) == {"parity": 2, "large": 2, "loops": 3, "rotation": 4, "ink": 5}.get(
        name, 4 if name == "quadrant" else 10
    )
    assert counts.min() > 20


def test_a_model_learns_its_pretext_and_comes_out_the_same() -> None:
    data = rank_zoo.digits()
    recipe = Recipe("parity", 128, 16, 40)
    first, second = (rank_zoo.pretrained(recipe, data.source) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    with torch.no_grad():
        answers = first(torch.from_numpy(data.test.pictures)).argmax(1).numpy()
    assert (answers == data.test.digits % 2).mean() > 0.9


def test_fine_tuning_keeps_what_was_learnt_and_leaves_the_model_alone() -> None:
    data = rank_zoo.digits()
    recipe = Recipe("digit", 128, 16, 40)
    model = rank_zoo.pretrained(recipe, data.source)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert rank_zoo.fine_tuned_accuracy(recipe, model, data, seed=0) > 0.85
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_checkpoints_have_descriptions(tmp_path: Path) -> None:
    recipe, model = next(rank_zoo.save(tmp_path, rank_zoo.digits().source))
    described = tomllib.loads((tmp_path / f"{recipe.name}.toml").read_text())
    assert described["factory"] == "crossdock.bench.rank_zoo:network"
    assert (tmp_path / f"{recipe.name}.safetensors").is_file()
    again = rank_zoo.network(**described["arguments"])
    again.load_state_dict(model.state_dict())
