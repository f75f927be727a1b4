"""Folders of models, and data, for tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tests.workloads.rank import parts

from crossdock.workloads.rank.data import Data
from crossdock.workloads.rank.models import Model, find
from crossdock.workloads.runner import Failed

ROWS = 150


def describe(folder: Path, name: str, factory: str, *lines: str, **arguments: Any) -> Path:
    """Write a description that uses the factories of ``parts``."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(parts.__file__), folder / "parts.py")
    path = folder / f"{name}.toml"
    given = [f"{key} = {json.dumps(value)}" for key, value in arguments.items()]
    path.write_text(
        "\n".join([f'factory = "parts.py:{factory}"', *lines, "[arguments]", *given]) + "\n"
    )
    return path


def headed(folder: Path, name: str, seed: int, factory: str = "headed", **arguments: Any) -> None:
    """A model with a checkpoint and a head."""
    describe(folder, name, factory, 'head = "2"', **arguments)
    torch.manual_seed(seed)
    save_file(parts.headed().state_dict(), folder / f"{name}.safetensors")


def one(folder: Path) -> Model:
    """The only model of a folder."""
    (found,) = find([str(folder)])
    assert isinstance(found, Model), found
    return found


def reason(folder: Path) -> str:
    """Why the only model of a folder failed."""
    (found,) = find([str(folder)])
    assert isinstance(found, Failed), found
    return found.reason


def flowers(rows: int = ROWS) -> Data:
    """Four values a row, three classes in no order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, rows)
    inputs = rng.normal(size=(3, 4))[labels] + rng.normal(size=(rows, 4))
    return Data(inputs.astype(np.float32), labels, np.arange(3))


def write(path: Path, data: Data) -> str:
    """As a file that ``--data`` takes."""
    np.savez(path, x=data.inputs, y=data.labels)
    return str(path)
