"""What LogME stands in for: a linear classifier that is cross-validated, and fine-tuning."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

BATCH = 128
LEARNING_RATE = 0.01
MOMENTUM = 0.9
HELD_OUT = 5
"""One sample in so many tells how good a fine-tuned model is."""


def cross_validated(
    features: NDArray[np.float32], labels: NDArray[np.int64], folds: int, iterations: int
) -> float:
    """Mean accuracy of logistic regression over folds, in at most so many steps of L-BFGS each."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=iterations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(model, features, labels, cv=folds).mean())


def fine_tuned(
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float32],
    epochs: int,
) -> float:
    """Accuracy on held-out samples of the model with a new head, after so many epochs of SGD."""
    torch.manual_seed(0)
    classes = int(labels.max()) + 1
    hidden = nn.Linear(*weights.shape)
    with torch.no_grad():
        hidden.weight.copy_(torch.from_numpy(weights.T))
        hidden.bias.zero_()
    model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(weights.shape[1], classes))
    held = np.arange(len(labels)) % HELD_OUT == 0
    x, y = torch.from_numpy(inputs[~held]), torch.from_numpy(labels[~held])
    optimiser = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True
    )
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    with torch.no_grad():
        guesses = model(torch.from_numpy(inputs[held])).argmax(1)
    return float((guesses == torch.from_numpy(labels[held])).float().mean())
