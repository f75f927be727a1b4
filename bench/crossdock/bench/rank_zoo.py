"""Models to be ranked: small networks that learn something from one half of scikit-learn's digits.

The zoo decides what a comparison of scores says, so it was fixed before any score was computed:
every pretext is learnt by the same four networks, a 2^(3-1) design of width, dimension and epochs.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
PIXELS = 64
BATCH = 64
LEARNING_RATE = 1e-3
FINE_TUNE_EPOCHS = 20
FINE_TUNE_SEEDS = range(5)
"""Of the new head and the batches; the accuracy of a model is the mean over them."""


class Half(NamedTuple):
    """Pictures (N, 64), ink from 0 to 1, and their digits (N,)."""

    pictures: Floats
    digits: Integers


@dataclass(frozen=True)
class Digits:
    """The data: the zoo learns from `source`, is scored on `train`, judged on `test`."""

    source: Half
    train: Half
    test: Half


def digits() -> Digits:
    """Half of the pictures, and two quarters; all with like numbers of each digit."""
    pictures, numbers = load_digits(return_X_y=True)
    whole = Half((pictures / 16).astype(np.float32), numbers.astype(np.int64))
    source, target = _halved(whole)
    return Digits(source, *_halved(target))


def _halved(given: Half) -> tuple[Half, Half]:
    parts = train_test_split(*given, test_size=0.5, stratify=given.digits, random_state=0)
    return Half(parts[0], parts[2]), Half(parts[1], parts[3])


Pretext = Callable[[Half, np.random.Generator], Half]
LOOPS = np.array([1, 0, 0, 0, 1, 0, 1, 0, 2, 1])
"""Closed loops of each digit as it is mostly written."""


def _of_digit(table: npt.ArrayLike) -> Pretext:
    labels = np.asarray(table, np.int64)
    return lambda given, _: Half(given.pictures, labels[given.digits])


def _rotation(given: Half, rng: np.random.Generator) -> Half:
    turns = rng.integers(0, 4, len(given.digits))
    square = given.pictures.reshape(-1, 8, 8)
    turned = np.stack([np.rot90(each, k) for each, k in zip(square, turns, strict=True)])
    return Half(turned.reshape(-1, PIXELS).copy(), turns)


def _ink(given: Half, _: np.random.Generator) -> Half:
    ink = given.pictures.sum(1)
    return Half(given.pictures, np.searchsorted(np.quantile(ink, (0.2, 0.4, 0.6, 0.8)), ink))


def _quadrant(given: Half, _: np.random.Generator) -> Half:
    quadrants = given.pictures.reshape(-1, 2, 4, 2, 4).sum((2, 4)).reshape(-1, 4)
    return Half(given.pictures, quadrants.argmax(1))


def _random(given: Half, rng: np.random.Generator) -> Half:
    return Half(given.pictures, rng.integers(0, 10, len(given.digits)))


PRETEXTS: Mapping[str, Pretext] = {
    "digit": _of_digit(np.arange(10)),
    "parity": _of_digit(np.arange(10) % 2),
    "large": _of_digit(np.arange(10) // 5),
    "loops": _of_digit(LOOPS),
    "rotation": _rotation,
    "ink": _ink,
    "quadrant": _quadrant,
    "random": _random,
}
"""What is learnt: of the digit, of the picture alone, or nothing."""

SHAPES = ((32, 16, 2), (32, 64, 40), (128, 16, 40), (128, 64, 2))
"""Width, dimension of the features, epochs."""


@dataclass(frozen=True)
class Recipe:
    """How a model of the zoo comes about."""

    pretext: str
    width: int
    dimension: int
    epochs: int

    @property
    def name(self) -> str:
        """As in `parity-w32-d16-e2`."""
        return f"{self.pretext}-w{self.width}-d{self.dimension}-e{self.epochs}"


ZOO = tuple(Recipe(pretext, *shape) for pretext in PRETEXTS for shape in SHAPES)


def network(width: int, dimension: int, outputs: int) -> nn.Module:
    """Two hidden layers; the features are what goes into `head`."""
    layers = (
        ("hidden", nn.Linear(PIXELS, width)),
        ("first", nn.ReLU()),
        ("features", nn.Linear(width, dimension)),
        ("second", nn.ReLU()),
        ("head", nn.Linear(dimension, outputs)),
    )
    return nn.Sequential(OrderedDict(layers))


def train(model: nn.Module, given: Half, epochs: int, seed: int) -> None:
    """Adam on cross-entropy, all parameters, in shuffled batches."""
    pictures, labels = torch.from_numpy(given.pictures), torch.from_numpy(given.digits)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(len(labels)))
        for rows in torch.split(order, BATCH):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(pictures[rows]), labels[rows])
            torch.autograd.backward(loss)
            optimiser.step()


def pretrained(recipe: Recipe, source: Half) -> nn.Module:
    """A model of the zoo; the same each time on one kind of processor."""
    number = ZOO.index(recipe)
    given = PRETEXTS[recipe.pretext](source, np.random.default_rng(number))
    torch.manual_seed(number)
    model = network(recipe.width, recipe.dimension, int(given.digits.max()) + 1)
    train(model, given, recipe.epochs, seed=number)
    return model


def fine_tuned_accuracy(recipe: Recipe, model: nn.Module, data: Digits, seed: int) -> float:
    """Share of right answers on `test` after training all of the model, with a new head."""
    torch.manual_seed(seed)
    tuned = network(recipe.width, recipe.dimension, 10)
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    tuned.load_state_dict(kept, strict=False)
    train(tuned, data.train, FINE_TUNE_EPOCHS, seed)
    with torch.no_grad():
        answers = tuned(torch.from_numpy(data.test.pictures)).argmax(1).numpy()
    return float((answers == data.test.digits).mean())


def save(folder: Path, source: Half) -> Iterator[tuple[Recipe, nn.Module]]:
    """Train each model, write its checkpoint and description, hand it over."""
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in ZOO:
        model = pretrained(recipe, source)
        save_file(model.state_dict(), folder / f"{recipe.name}.safetensors")
        (folder / f"{recipe.name}.toml").write_text(_description(recipe, model))
        yield recipe, model


def _description(recipe: Recipe, model: nn.Module) -> str:
    outputs = model.get_submodule("head").out_features
    arguments = {"width": recipe.width, "dimension": recipe.dimension, "outputs": outputs}
    lines = [
        f"# Learnt {recipe.pretext} in {recipe.epochs} epochs.",
        f'factory = "{__name__}:network"',
        'head = "head"',
        "",
        "[arguments]",
        *(f"{name} = {json.dumps(value)}" for name, value in arguments.items()),
    ]
    return "\n".join(lines) + "\n"
