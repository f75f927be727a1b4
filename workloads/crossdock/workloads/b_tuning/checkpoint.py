"""The state of a training in a file, whole at any moment."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from crossdock.proxy.errors import ArgumentError


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state; whoever is cut off in the middle leaves the one before."""
    beside = path.with_name(path.name + ".new")
    torch.save(state, beside)
    beside.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read what ``save`` wrote, tensors on the CPU; ArgumentError for anything else."""
    try:
        return loads(path.read_bytes())
    except (ArgumentError, OSError) as error:
        raise ArgumentError(f"{path}: {error}") from error


def loads(data: bytes) -> dict[str, Any]:
    """Read the bytes of a file; see ``load``."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        # torch's own words would advise to run whatever code the file holds.
        raise ArgumentError(
            f"the checkpoint cannot be read ({type(error).__name__}); remove it to begin afresh"
        ) from error
    if not isinstance(state, dict) or "settings" not in state:
        raise ArgumentError("this is no checkpoint of a student; remove it to begin afresh")
    return state
