"""One seed for each use of chance, so that no use disturbs another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import torch

from crossdock.proxy.errors import ArgumentError


class Use(IntEnum):
    """What training uses chance for; a study may have uses of its own."""

    INITIAL = 1
    EPOCH = 2
    VIEW = 3
    PROJECTION = 4
    BATCH = 5
    NOISE = 6


def derived(seed: int, use: IntEnum, *places: int) -> int:
    """A seed for torch; ArgumentError for a negative seed."""
    if seed < 0:
        raise ArgumentError(f"seed is {seed}, but 0 is the least")
    # The use comes first: trailing zeros would make no difference.
    state = np.random.SeedSequence((use, seed, *(place + 1 for place in places)))
    return int(state.generate_state(1, np.uint64)[0]) >> 1


def generator(seed: int, use: IntEnum, *places: int) -> torch.Generator:
    """A generator of torch on the CPU."""
    return torch.Generator().manual_seed(derived(seed, use, *places))


@contextlib.contextmanager
def reproducible(seed: int, use: IntEnum, *places: int) -> Iterator[None]:
    """All chance of torch inside comes from the seed; the caller's generators stay as they were."""
    chosen = derived(seed, use, *places)
    devices = list(range(torch.cuda.device_count()))
    cudnn = torch.backends.cudnn
    with torch.random.fork_rng(devices), cudnn.flags(benchmark=False, deterministic=True):
        torch.manual_seed(chosen)
        yield
