"""What teachers say of each view of each sample: computed once, then looked up."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone, features_of
from crossdock.workloads.b_tuning.views import Views

CHUNK = 256
"""Samples that teachers see at once."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model that takes part in a target."""

    backbone: Backbone
    means: npt.NDArray[np.float64]
    """Posterior means (C, D) of its linear head, by LogME."""
    weight: float
    """Its share pi of the target."""


class TargetCache:
    """Targets, float32, keyed by (sample, augmentation seed)."""

    def __init__(self, samples: int, views: int, width: int) -> None:
        self.values = np.zeros((views, samples, width), np.float32)
        self.known = np.zeros((views, samples), np.bool_)

    def put(self, view: int, samples: slice, values: npt.NDArray[np.float32]) -> None:
        """Keep the targets (B, width) of some samples in a view."""
        self.values[view, samples] = values
        self.known[view, samples] = True

    def get(self, view: int, samples: torch.Tensor) -> torch.Tensor:
        """Targets (B, width) of samples (B,) in a view; ArgumentError where one was never put."""
        places = samples.numpy()
        missing = places[~self.known[view, places]]
        if len(missing):
            raise ArgumentError(
                f"no target is known of sample {missing[0]} and {len(missing) - 1} others in view "
                f"{view}; compute the targets of all views before training"
            )
        return torch.from_numpy(self.values[view, places])

    def checksum(self) -> int:
        """Of all values: other teachers, other data or other views give another."""
        return zlib.crc32(self.values.tobytes())

    def expect(self, samples: int, views: int, width: int) -> None:
        """ArgumentError where the targets are of other data, or of other classes."""
        wanted = (views, samples, width)
        if self.values.shape != wanted:
            raise ArgumentError(
                f"the targets are (views, samples, width) = {self.values.shape}, but {wanted} is "
                "needed; compute them with the same data, classes and views"
            )


class Target(ABC):
    """What some teachers say; they are copied to a device, and frozen."""

    def __init__(self, teachers: Sequence[Teacher], device: torch.device) -> None:
        """ArgumentError for no teacher."""
        if not teachers:
            raise ArgumentError("there is no teacher; name at least one")
        self._teachers = [
            Teacher(teacher.backbone.frozen(device), teacher.means, teacher.weight)
            for teacher in teachers
        ]

    def __call__(self, inputs: torch.Tensor) -> npt.NDArray[np.float32]:
        """(B, width) of raw inputs (B, ...), which each teacher transforms in its own way."""
        features = [_numpy(features_of(teacher.backbone, inputs)) for teacher in self._teachers]
        return self._joined(features).astype(np.float32)

    @abstractmethod
    def _joined(self, features: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        """(B, width) of the features (B, D_k) of all teachers."""

    @staticmethod
    @abstractmethod
    def width(means: Sequence[npt.NDArray[np.float64]]) -> int:
        """Of the targets of teachers with these posterior means (C, D_k)."""


class PosteriorTarget(Target):
    """sum_k pi_k f_k m_k' (B, C), summed in float64."""

    def _joined(self, features: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        parts = [
            teacher.weight * (each @ teacher.means.T)
            for teacher, each in zip(self._teachers, features, strict=True)
        ]
        return np.asarray(np.sum(parts, axis=0))

    @staticmethod
    def width(means: Sequence[npt.NDArray[np.float64]]) -> int:
        """C."""
        return len(means[0])


class FeatureTarget(Target):
    """The features of all teachers side by side (B, sum D_k)."""

    def _joined(self, features: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        return np.concatenate(features, axis=1)

    @staticmethod
    def width(means: Sequence[npt.NDArray[np.float64]]) -> int:
        """sum D_k."""
        return sum(each.shape[1] for each in means)


def fill(
    cache: TargetCache,
    target: Target,
    views: Views,
    device: torch.device,
) -> None:
    """Compute in this process whatever the cache lacks."""
    for view, first, end in views.chunks(CHUNK):
        if not cache.known[view, first:end].all():
            inputs = views.of(torch.arange(first, end), view).to(device)
            cache.put(view, slice(first, end), target(inputs))


def _numpy(features: torch.Tensor) -> npt.NDArray[np.float64]:
    return features.double().cpu().numpy()
