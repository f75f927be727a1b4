"""How well features serve another task: a linear classifier on them, from few samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from crossdock.workloads.lr_decay.samples import Samples

PENALTIES = np.logspace(-2, 4, 13)
"""Of the classifier, which takes the one that is best by leave-one-out."""


@dataclass(frozen=True, eq=False)
class Target:
    """A task for which features are learnt elsewhere."""

    train: Samples
    test: Samples


def accuracy(train: Tensor, test: Tensor, target: Target) -> float:
    """Of a ridge classifier on standardised features of the target; NaN where some are not finite.

    Args:
        train: features (N, D) of the target's training samples.
        test: of its test samples.
    """
    if not (train.isfinite().all() and test.isfinite().all()):
        return float("nan")
    scaler = StandardScaler().fit(train.double().numpy())
    classifier = RidgeClassifierCV(PENALTIES)
    classifier.fit(scaler.transform(train.double().numpy()), target.train.labels.numpy())
    told = classifier.predict(scaler.transform(test.double().numpy()))
    return float((torch.as_tensor(told) == target.test.labels).double().mean())
