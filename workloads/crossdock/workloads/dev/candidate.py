"""A candidate: what a trained model says of source and target, as arrays in a file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from crossdock.proxy.errors import ArgumentError, CrossdockError
from crossdock.workloads.dev.discriminators import Floats
from crossdock.workloads.dev.estimator import expect_width, matrix

SUFFIXES = (".npz", ".safetensors")
Loss = Literal["cross-entropy", "zero-one"]
_SUM_TOLERANCE = 1e-3
_SMALLEST = 1e-12
"""Probability that a cross-entropy takes 0 for: one sure mistake must not be infinitely bad."""


class CandidateUnreadable(CrossdockError):
    """A file is no candidate; the message says what is missing or wrong in it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What selectors judge. Sizes: N source training, M source validation, T target samples.

    Keys of a file are the names of these fields; instead of `source_validation_losses` it may have
    `source_validation_probabilities` (M, classes) and `source_validation_labels` (M,).
    """

    source_train_features: Floats
    """(N, d), of samples that the model was trained on."""
    source_validation_features: Floats
    """(M, d), of samples that it was not trained on."""
    target_features: Floats
    """(T, d)."""
    source_validation_losses: Floats
    """(M,)."""
    target_probabilities: Floats | None = None
    """(T, classes); entropy, InfoMax, SND and BNM need them."""
    target_labels: np.ndarray | None = None
    """(T,); only to show what the choices are worth, no selector sees them."""

    @property
    def target_accuracy(self) -> float | None:
        """Share of target samples whose likeliest class is right; None where that is unknown."""
        if self.target_probabilities is None or self.target_labels is None:
            return None
        return float((self.target_probabilities.argmax(axis=1) == self.target_labels).mean())


def files(folder: Path) -> list[Path]:
    """All candidates of a folder, by name; ArgumentError where there is none."""
    if not folder.is_dir():
        raise ArgumentError(f"candidates {folder} is no folder")
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not found:
        raise ArgumentError(f"candidates {folder} has no file that ends in {' or '.join(SUFFIXES)}")
    return found


def load(path: Path, loss: Loss = "cross-entropy") -> Candidate:
    """Read a candidate; `loss` is taken where the file has probabilities in place of losses.

    Raises:
        CandidateUnreadable: no such file, another format, missing arrays.
        ArgumentError: arrays that do not fit each other, or values out of range.
    """
    arrays = _arrays(path)
    parts = ("source_train_features", "source_validation_features", "target_features")
    missing = [part for part in parts if part not in arrays]
    if missing:
        raise CandidateUnreadable(f"{path.name} has no {', '.join(missing)}, only {_names(arrays)}")
    features = {part: matrix(part, arrays[part]) for part in parts}
    for part in parts[1:]:
        expect_width(part, features[part], features[parts[0]].shape[1])
    validation, target = len(features[parts[1]]), len(features[parts[2]])
    probabilities = arrays.get("target_probabilities")
    labels = arrays.get("target_labels")
    if labels is not None and probabilities is not None:
        _expect_classes(_vector("target_labels", labels, target), probabilities.shape[-1])
    return Candidate(
        **features,
        source_validation_losses=_losses(path, arrays, validation, loss),
        target_probabilities=None
        if probabilities is None
        else _probabilities("target_probabilities", probabilities, target),
        target_labels=None if labels is None else _vector("target_labels", labels, target),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CandidateUnreadable(f"{path.name} cannot be read: {error}") from error
    except ImportError as error:
        raise CandidateUnreadable(
            f"{path.name} needs safetensors ({error}): pip install 'crossdock[workloads]'"
        ) from error
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CandidateUnreadable(f"{path.name} cannot be read: {error}") from error


def _losses(path: Path, arrays: dict[str, np.ndarray], samples: int, loss: Loss) -> Floats:
    if "source_validation_losses" in arrays:
        losses = arrays["source_validation_losses"]
        return _vector("source_validation_losses", losses, samples).astype(np.float64)
    needed = ("source_validation_probabilities", "source_validation_labels")
    if any(name not in arrays for name in needed):
        raise CandidateUnreadable(
            f"{path.name} has neither source_validation_losses nor {' and '.join(needed)}, only "
            f"{_names(arrays)}"
        )
    probabilities = _probabilities(needed[0], arrays[needed[0]], samples)
    return losses_of(probabilities, _vector(needed[1], arrays[needed[1]], samples), loss)


def losses_of(probabilities: Floats, labels: np.ndarray, loss: Loss) -> Floats:
    """Losses (n,) of probabilities (n, classes) and labels (n,), in nats or mistakes.

    Raises:
        ArgumentError: a label that is no class.
    """
    whole = _expect_classes(labels, probabilities.shape[1])
    if loss == "zero-one":
        return np.asarray(probabilities.argmax(axis=1) != whole, dtype=np.float64)
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(whole)), whole], _SMALLEST)))


def _expect_classes(labels: np.ndarray, classes: int) -> np.ndarray:
    """The labels (n,) as whole numbers; ArgumentError for one that is no class."""
    wrong = ~np.isin(labels, np.arange(classes))
    if wrong.any():
        raise ArgumentError(
            f"label {labels[wrong][0]} is not one of the {classes} classes 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def _probabilities(name: str, values: np.ndarray, samples: int) -> Floats:
    rows = matrix(name, values)
    if len(rows) != samples:
        raise ArgumentError(f"{name} has {len(rows)} rows for {samples} samples")
    if rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        raise ArgumentError(
            f"{name} has values from {rows.min():.3g} and rows that sum to "
            f"{rows.sum(axis=1).min():.4g} to {rows.sum(axis=1).max():.4g}; give probabilities, "
            "not logits"
        )
    return rows


def _vector(name: str, values: np.ndarray, samples: int) -> np.ndarray:
    if values.shape != (samples,):
        raise ArgumentError(f"{name} has shape {values.shape} for {samples} samples")
    return values


def _names(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(sorted(arrays)) or "nothing"
