"""Digits as two domains: by biased subsampling, and by rotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import rotate
from scipy.special import expit
from sklearn.datasets import load_digits

Task = Literal["biased", "rotated"]
_SOURCE_PART, _TRAIN_PART = 0.6, 0.7
_STEEPNESS = 2.0
_ANGLE = 30.0
_LARGEST = 16.0
_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class Domains:
    """Images (n, 64) from 0 to 1, float32, and labels 0 to 9."""

    train: np.ndarray
    train_labels: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    target: np.ndarray
    target_labels: np.ndarray
    """Only for the judgement of the choices."""


def domains(task: Task, seed: int) -> Domains:
    """Other samples for every seed; no image is in both domains.

    biased: along the first principal component z of all images (standardised), source samples are
    kept with probability sigmoid(-2 z) and target samples with sigmoid(2 z): the inputs shift, what
    a label looks like does not. rotated: the target is turned by 30 degrees.
    """
    random = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    images = (images / _LARGEST).astype(np.float32)
    order = random.permutation(len(images))
    source, target = np.split(order, [round(_SOURCE_PART * len(order))])
    if task == "biased":
        score = _first_component(images)
        source = _kept(random, source, -score)
        target = _kept(random, target, score)
    train, validation = np.split(source, [round(_TRAIN_PART * len(source))])
    far = images[target]
    return Domains(
        train=images[train],
        train_labels=labels[train],
        validation=images[validation],
        validation_labels=labels[validation],
        target=_turned(far) if task == "rotated" else far,
        target_labels=labels[target],
    )


def _first_component(images: np.ndarray) -> np.ndarray:
    centred = images - images.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    score = centred @ (axis * np.sign(axis.sum()))  # the sign of a component is arbitrary
    return np.asarray(score / score.std())


def _kept(random: np.random.Generator, rows: np.ndarray, score: np.ndarray) -> np.ndarray:
    chance = expit(_STEEPNESS * score[rows])
    return np.asarray(rows[random.random(len(rows)) < chance])


def _turned(images: np.ndarray) -> np.ndarray:
    square = images.reshape(-1, _SIDE, _SIDE)
    turned = rotate(square, _ANGLE, axes=(1, 2), reshape=False, order=1)
    return np.asarray(turned.reshape(len(images), -1), dtype=np.float32)
