"""One generator for each use of chance, so that no use disturbs another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Use(IntEnum):
    """What chance is used for."""

    SAMPLES = 1
    LABELS = 2
    INITIAL = 3
    EPOCH = 4
    TARGET = 5


def derived(seed: int, use: Use, place: int = 0) -> int:
    """A seed for torch."""
    state = np.random.SeedSequence((use, seed, place + 1))
    return int(state.generate_state(1, np.uint64)[0]) >> 1


def generator(seed: int, use: Use, place: int = 0) -> torch.Generator:
    """A generator of torch for the use, and for the place within it."""
    return torch.Generator().manual_seed(derived(seed, use, place))
