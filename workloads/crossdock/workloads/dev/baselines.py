"""Scores that DEV is compared with; those of the target need no labels and no source.

All take float arrays. Probabilities have shape (n, classes), rows that sum to 1.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

Floats = np.ndarray

_SND_TEMPERATURE = 0.05
_BLOCK_ELEMENTS = 1 << 22
"""Of the similarities that SND holds at a time; all of them would be n x n."""


def source_risk(losses: Floats) -> float:
    """Mean loss on source samples, shape (n,); what one has without thinking of the target."""
    return float(np.mean(losses))


def iwcv(weights: Floats, losses: Floats) -> float:
    """Importance-weighted validation: mean of weight times loss, both of shape (n,).

    Sugiyama, Krauledat, Müller: Covariate Shift Adaptation by Importance Weighted Cross
    Validation, JMLR 2007.
    """
    return float(np.mean(np.asarray(weights, np.float64) * np.asarray(losses, np.float64)))


def entropy(probabilities: Floats) -> float:
    """Mean entropy of the target's predictions, in nats; low where they are sure."""
    return float(entr(np.asarray(probabilities, np.float64)).sum(axis=1).mean())


def infomax(probabilities: Floats) -> float:
    """Mutual information of sample and prediction, in nats: entropy of the mean minus the mean.

    High where predictions are sure and differ from each other. Bridle, Heading, MacKay:
    Unsupervised Classifiers, Mutual Information and 'Phantom Targets', NIPS 1991.
    """
    mean = np.asarray(probabilities, np.float64).mean(axis=0)
    return float(entr(mean).sum()) - entropy(probabilities)


def snd(probabilities: Floats, temperature: float = _SND_TEMPERATURE) -> float:
    """Soft neighbourhood density: mean entropy of the similarities to all others, in nats.

    High where samples have many near neighbours. The similarity is the cosine of two rows of
    probabilities; a sample is no neighbour of its own. Time is quadratic in n, memory is not.
    Saito et al.: Tune it the Right Way, ICCV 2021.
    """
    rows = np.asarray(probabilities, np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    step = max(1, _BLOCK_ELEMENTS // len(rows))
    total = 0.0
    for start in range(0, len(rows), step):
        near = rows[start : start + step] @ rows.T / temperature
        np.fill_diagonal(near[:, start:], -np.inf)
        near = np.exp(near - near.max(axis=1, keepdims=True))
        total += float(entr(near / near.sum(axis=1, keepdims=True)).sum())
    return total / len(rows)


def bnm(probabilities: Floats) -> float:
    """Nuclear norm of the target's predictions over their number.

    High where they are sure and many classes are predicted. Cui et al.: Towards Discriminability
    and Diversity: Batch Nuclear-norm Maximization, CVPR 2020.
    """
    rows = np.asarray(probabilities, np.float64)
    return float(np.linalg.norm(rows, ord="nuc")) / len(rows)
