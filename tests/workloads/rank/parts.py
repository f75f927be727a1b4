"""Factories of models for a folder, as a user would write them: some work, some do not.

Folders hold a copy of this file; nothing imports it.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def headed(outputs: int = 5, built: str | None = None) -> nn.Module:
    """Features of eight values, and a head; says that it was built."""
    if built is not None:
        Path(f"{built}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


def headless() -> nn.Module:
    return nn.Linear(4, 3)


def labelled() -> Any:
    return lambda batch: (batch, batch.argmax(1))


def nan() -> Any:
    return lambda batch: batch * torch.where(torch.arange(4) == 2, torch.nan, 1.0)


def raises() -> Any:
    def run(batch: Tensor) -> Tensor:
        raise ValueError(f"no rows of {batch.shape[1]} values, please")

    return run


def dies() -> Any:
    def run(batch: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return batch

    return run


def slow(outputs: int = 5) -> Any:
    """As ``headed``, but a second goes by with each batch."""
    network = headed(outputs)
    network.register_forward_pre_hook(lambda *_: time.sleep(1))
    return network


def number() -> int:
    return 7
