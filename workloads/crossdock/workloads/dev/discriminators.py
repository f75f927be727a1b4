"""Classifiers of source against target, many at once: one for each decay and part of the data.

A discriminator gives log-odds of the target. Odds, and not probabilities, are what density ratios
are made of: they keep their digits where the domains lie far apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

Floats = np.ndarray
Indices = np.ndarray
_HIDDEN_LEAST, _HIDDEN_MOST = 16, 256
_ROWS_AT_A_TIME = 4096


class Fitted(Protocol):
    """Discriminators that were trained."""

    def log_odds(self, features: Floats) -> Floats:
        """Of the target against the source: (n, d) to (parts, decays, n), float64."""
        ...


class Discriminator(Protocol):
    """How discriminators are trained."""

    def fit(
        self,
        features: Floats,
        is_target: Floats,
        parts: Sequence[Indices],
        decays: Sequence[float],
        seed: int,
    ) -> Fitted:
        """Train one on each part of the rows with each decay.

        Args:
            features: standardised, shape (n, d), float64.
            is_target: 0 or 1, shape (n,).
            parts: rows to train on.
                decays: of the penalty ``decay / 2 * |weights|^2`` on the mean loss, biases aside.
            seed: of whatever is random in the training.
        """
        ...


@dataclass(frozen=True)
class Logistic:
    """Logistic regression by scikit-learn."""

    iterations_max: int = 1000

    def fit(
        self,
        features: Floats,
        is_target: Floats,
        parts: Sequence[Indices],
        decays: Sequence[float],
        seed: int,
    ) -> Fitted:
        """See ``Discriminator``; nothing in it is random."""
        coefficients = np.empty((len(parts), len(decays), features.shape[1]))
        intercepts = np.empty((len(parts), len(decays), 1))
        for i, rows in enumerate(parts):
            for j, decay in enumerate(decays):
                model = LogisticRegression(
                    C=1 / (decay * len(rows)), max_iter=self.iterations_max, random_state=seed
                )
                with warnings.catch_warnings():
                    # Separable domains have no optimum to speak of; their weights get refused.
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(features[rows], is_target[rows])
                coefficients[i, j], intercepts[i, j] = model.coef_[0], model.intercept_
        return _Linear(coefficients, intercepts)


@dataclass(frozen=True)
class _Linear:
    coefficients: Floats
    intercepts: Floats

    def log_odds(self, features: Floats) -> Floats:
        return np.asarray(self.coefficients @ features.T + self.intercepts)


@dataclass(frozen=True)
class Mlp:
    """A perceptron with two hidden layers, trained by Adam on mini-batches.

    All parts and decays train side by side as one batched product, which is what makes them cheap
    on a GPU, and on a CPU too for the small ones that DEV needs.
    """

    device: str = "cpu"
    """Any that torch knows."""
    hidden: int | None = None
    """Units of each hidden layer; None: as many as features, but 16 to 256."""
    batch: int = 256
    epochs: int = 40
    rate: float = 3e-3
    """Learning rate; falls to zero along a cosine."""

    def fit(
        self,
        features: Floats,
        is_target: Floats,
        parts: Sequence[Indices],
        decays: Sequence[float],
        seed: int,
    ) -> Fitted:
        """See ``Discriminator``; the seed decides initial parameters and batches."""
        # Drawn on the host, so that a seed means the same on every device.
        random = torch.Generator().manual_seed(seed)
        x = torch.as_tensor(features, dtype=torch.float32, device=self.device)
        y = torch.as_tensor(is_target, dtype=torch.float32, device=self.device)
        copies = len(decays)
        layers = self._initial(len(parts) * copies, x.shape[1], random)
        decay = torch.tensor(list(decays) * len(parts), dtype=torch.float32, device=self.device)
        optimiser = torch.optim.Adam(layers, lr=self.rate)
        largest = max(len(rows) for rows in parts)
        steps = max(1, round(self.epochs * largest / min(self.batch, largest)))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            batches = _batches(parts, min(self.batch, largest), random)
            rows = batches.to(self.device).repeat_interleave(copies, dim=0)
            odds = _forward(layers, x[rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                odds, y[rows], reduction="none"
            ).mean(1)
            size = sum(layer.square().sum((1, 2)) for layer in layers[::2])
            optimiser.zero_grad()
            total = (loss + decay / 2 * size).sum()  # leaves each model its own gradient
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        return _Perceptrons([layer.detach() for layer in layers], len(parts), copies)

    def _initial(self, models: int, width: int, random: torch.Generator) -> list[Tensor]:
        """Weights and biases, (models, in, out) and (models, 1, out), drawn after He et al."""
        hidden = self.hidden or min(max(width, _HIDDEN_LEAST), _HIDDEN_MOST)
        layers = []
        for ins, outs in ((width, hidden), (hidden, hidden), (hidden, 1)):
            weight = torch.randn(models, ins, outs, generator=random) * (2 / ins) ** 0.5
            layers += [weight, torch.zeros(models, 1, outs)]
        return [layer.to(self.device).requires_grad_() for layer in layers]


@dataclass(frozen=True)
class _Perceptrons:
    layers: list[Tensor]
    parts: int
    decays: int

    def log_odds(self, features: Floats) -> Floats:
        device = self.layers[0].device
        found = []
        with torch.no_grad():
            for start in range(0, len(features), _ROWS_AT_A_TIME):
                rows = torch.as_tensor(
                    features[start : start + _ROWS_AT_A_TIME], dtype=torch.float32, device=device
                )
                found.append(_forward(self.layers, rows.expand(len(self.layers[0]), -1, -1)))
        odds = torch.cat(found, dim=1).double().cpu().numpy()
        return np.asarray(odds.reshape(self.parts, self.decays, -1))


def _forward(layers: list[Tensor], x: Tensor) -> Tensor:
    """Log-odds (models, rows) of rows (models, rows, d)."""
    for i in range(0, len(layers) - 2, 2):
        x = torch.baddbmm(layers[i + 1], x, layers[i]).relu()
    return torch.baddbmm(layers[-1], x, layers[-2]).squeeze(2)


def _batches(parts: Sequence[Indices], size: int, random: torch.Generator) -> Tensor:
    """Rows (parts, size), drawn from each part with replacement."""
    return torch.stack(
        [
            torch.from_numpy(rows)[torch.randint(len(rows), (size,), generator=random)]
            for rows in parts
        ]
    )
