"""Factories of models for a folder, as a user would write them: some work, some do not.

Folders hold a copy of this file; nothing imports it.
"""

import os
import signal
from pathlib import Path

import torch
from torch import nn


def headed(outputs=5, built=None):
    """Features of eight values, and a head; says that it was built."""
    if built is not None:
        (Path(built) / f"{os.getpid()}-{torch.randint(1 << 30, ())}").touch()
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


def headless():
    return nn.Linear(4, 3)


def labelled():
    return lambda batch: (batch, batch.argmax(1))


def nan():
    return lambda batch: batch * torch.where(torch.arange(4) == 2, torch.nan, 1.0)


def raises():
    def run(batch):
        raise ValueError(f"no rows of {batch.shape[1]} values, please")

    return run


def dies(mark=None):
    """Kills its process: always, or once."""

    def run(batch):
        if mark is None or not Path(mark).exists():
            if mark is not None:
                Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    return run


def number():
    return 7
