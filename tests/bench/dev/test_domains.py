"""Digits as two domains."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import rotate
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

from crossdock.bench.dev.domains import Domains, Task, domains

IMAGES = (load_digits().data / 16).astype(np.float32)


def rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize("task", ["biased", "rotated"])
def test_parts_share_no_image(task: Task) -> None:
    found = domains(task, 0)
    train, validation = rows(found.train), rows(found.validation)
    assert train | validation <= rows(IMAGES)
    assert not train & validation
    assert not (train | validation) & rows(found.target)
    for part in ("train", "validation", "target"):
        images, labels = getattr(found, part), getattr(found, f"{part}_labels")
        assert images.dtype == np.float32
        assert len(images) == len(labels)
        assert set(labels) == set(range(10))


def along(found: Domains) -> tuple[float, float]:
    """Mean place of source and target along the first principal component, in deviations."""
    centred = IMAGES - IMAGES.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    axis = axis * np.sign(axis.sum())
    spread = (centred @ axis).std()
    source = np.concatenate([found.train, found.validation])
    return tuple(
        float(((images - IMAGES.mean(axis=0)) @ axis).mean() / spread)
        for images in (source, found.target)
    )  # type: ignore[return-value]


def test_bias_pulls_the_domains_apart_along_the_first_component() -> None:
    source, target = along(domains("biased", 0))
    assert source < -0.4
    assert target > 0.4


def test_rotation_turns_the_target_only() -> None:
    found = domains("rotated", 0)
    assert len(found.train) + len(found.validation) + len(found.target) == len(IMAGES)
    turned = rotate(IMAGES.reshape(-1, 8, 8), 30, axes=(1, 2), reshape=False, order=1)
    nearest = cdist(found.target, turned.reshape(-1, 64)).min(axis=1)
    assert nearest.max() < 1e-5


def test_seeds_draw_anew() -> None:
    one, two = domains("biased", 0), domains("biased", 1)
    assert rows(one.train) != rows(two.train)
    np.testing.assert_array_equal(one.train, domains("biased", 0).train)
