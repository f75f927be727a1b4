"""The candidates: small networks, adapted to the target by different methods and strengths."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossdock.bench.dev.domains import Domains

CLASSES = 10
FEATURES = 16
_BATCH = 64
_RATE, _DECAY = 5e-3, 1e-4


@dataclass(frozen=True)
class Recipe:
    """How a candidate is trained."""

    method: str
    """source: not adapted; coral: second moments of features made alike (Sun, Saenko, 2016); dann:
    features that a discriminator cannot tell apart (Ganin et al., JMLR 2016)."""
    strength: float
    hidden: int
    epochs: int

    @property
    def name(self) -> str:
        """Unique among the recipes."""
        return f"{self.method} {self.strength:g}, {self.hidden} units, {self.epochs} epochs"


_METHODS = (
    ("source", 0.0),
    ("coral", 1.0),
    ("coral", 100.0),
    ("dann", 0.1),
    ("dann", 1.0),
    ("dann", 10.0),
)
RECIPES = tuple(
    Recipe(method, strength, hidden, epochs)
    for (method, strength), hidden, epochs in product(_METHODS, (32, 128), (20, 80))
)
"""Fixed before any was scored, by a single rule: networks that are not adapted reach 90 % on source
validation samples. Too weak, right and too strong ones are meant to be there."""


class Network(nn.Module):
    """Two hidden layers to features, one from there to classes."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, FEATURES), nn.ReLU()
        )
        self.head = nn.Linear(FEATURES, CLASSES)


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


@dataclass(frozen=True)
class Outputs:
    """What a trained candidate says of some images: features (n, d), probabilities (n, 10)."""

    features: np.ndarray
    probabilities: np.ndarray


def train(recipe: Recipe, domains: Domains, seed: int) -> Network:
    """Train a candidate; target labels are not used."""
    torch.manual_seed(seed)
    near, far = torch.from_numpy(domains.train), torch.from_numpy(domains.target)
    labels = torch.from_numpy(domains.train_labels)
    network = Network(near.shape[1], recipe.hidden)
    critic = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 1))
    parameters = [*network.parameters(), *critic.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_RATE, weight_decay=_DECAY)
    steps = recipe.epochs * max(1, len(near) // _BATCH)
    for step in range(steps):
        rows = torch.randint(len(near), (_BATCH,))
        features = network.body(near[rows])
        loss = functional.cross_entropy(network.head(features), labels[rows])
        if recipe.method != "source":
            others = network.body(far[torch.randint(len(far), (_BATCH,))])
            if recipe.method == "coral":
                loss = loss + recipe.strength * _coral(features, others)
            else:
                ramp = 2 / (1 + float(np.exp(-10 * step / steps))) - 1
                loss = loss + _dann(critic, features, others, recipe.strength * ramp)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network


def outputs(network: Network, images: np.ndarray) -> Outputs:
    """What the network says."""
    with torch.no_grad():
        features = network.body(torch.from_numpy(images))
        probabilities = network.head(features).double().softmax(dim=1)
    return Outputs(features.double().numpy(), probabilities.numpy())


def _coral(near: Tensor, far: Tensor) -> Tensor:
    return (near.T.cov() - far.T.cov()).square().sum() / (4 * FEATURES**2)


def _dann(critic: nn.Module, near: Tensor, far: Tensor, strength: float) -> Tensor:
    both = torch.cat([near, far])
    domain = torch.repeat_interleave(torch.tensor([0.0, 1.0]), len(near))
    turned = _Reverse.apply(both, strength)  # type: ignore[no-untyped-call]
    odds = critic(turned).squeeze(1)
    return functional.binary_cross_entropy_with_logits(odds, domain)
