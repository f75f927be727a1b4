"""The formulas of the papers written out, example by example and class by class, in probabilities.

Nothing is shared with the code under test, and nothing is stable: for moderate logits in float64.
"""

from __future__ import annotations

import math

import torch

Tensor = torch.Tensor


def softmax(z: Tensor) -> Tensor:
    return torch.exp(z) / torch.exp(z).sum()


def sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def bce(chance: Tensor, truth: int) -> Tensor:
    return -torch.log(chance) if truth else -torch.log(1 - chance)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weights are divided by their mean first, as ETN says it."""
    total = torch.zeros((), dtype=logits.dtype)
    normal = weights / (sum(weights) / len(weights))
    for z, y, w in zip(logits, labels.tolist(), normal, strict=True):
        total = total - w * torch.log(softmax(z)[y])
    return total / len(logits)


def entropy(logits: Tensor) -> Tensor:
    total = torch.zeros((), dtype=logits.dtype)
    for z in logits:
        for p in softmax(z):
            total = total - p * torch.log(p)
    return total / len(logits)


def domain(source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    normal = weights / (sum(weights) / len(weights))
    near = far = torch.zeros((), dtype=source.dtype)
    for z, w in zip(source, normal, strict=True):
        near = near + w * bce(sigmoid(z), 1)
    for z in target:
        far = far + bce(sigmoid(z), 0)
    return near / len(source) + far / len(target)


def classwise_domain(
    source: Tensor, target: Tensor, near: Tensor, far: Tensor, gamma: Tensor
) -> Tensor:
    total = torch.zeros((), dtype=source.dtype)
    for k in range(len(gamma)):
        for z, p in zip(source, near, strict=True):
            total = total + gamma[k] * p[k] * bce(sigmoid(z[k]), 1) / len(source)
        for z, p in zip(target, far, strict=True):
            total = total + gamma[k] * p[k] * bce(sigmoid(z[k]), 0) / len(target)
    return total


def conditional_domain(source: Tensor, target: Tensor, near: Tensor, far: Tensor) -> Tensor:
    def side(logits: Tensor, weights: Tensor, truth: int) -> Tensor:
        upper = lower = torch.zeros((), dtype=logits.dtype)
        for z, w in zip(logits.flatten(), weights.flatten(), strict=True):
            upper = upper + w * bce(sigmoid(z), truth)
            lower = lower + w
        return upper / lower

    return side(source, near, 1) + side(target, far, 0)


def leaky_softmax(z: Tensor) -> Tensor:
    return torch.exp(z) / (len(z) + torch.exp(z).sum())


def leaky_domain_chance(logits: Tensor) -> Tensor:
    return torch.stack([leaky_softmax(z).sum() for z in logits])


def leaky_one_vs_rest(logits: Tensor, labels: Tensor) -> Tensor:
    total = torch.zeros((), dtype=logits.dtype)
    for z, y in zip(logits, labels.tolist(), strict=True):
        for c, s in enumerate(leaky_softmax(z)):
            total = total + bce(s, int(c == y))
    return total / len(logits)


def norm_step(features: Tensor, step: float) -> Tensor:
    total = torch.zeros((), dtype=features.dtype)
    for f in features:
        norm = torch.sqrt((f * f).sum())
        total = total + (norm - (norm.detach() + step)) ** 2
    return total / len(features)


def ramp(p: float) -> float:
    return 2 / (1 + math.exp(-10 * p)) - 1
