"""Dumps of ranks that are all this process: quick to make, and as a job leaves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from crossdock.decompile import prepare_debug
from crossdock.decompile.cluster import dumps
from crossdock.decompile.cluster.histories import Divergence, divergences


def dump(folder: Path, bodies: Sequence[Callable[[], object]]) -> Path:
    """Run one body after the other, each as the rank of its place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WORLD_SIZE", raising=False)
        for rank, body in enumerate(bodies):
            patch.setenv("RANK", str(rank))
            torch._dynamo.reset()
            with prepare_debug(folder / f"rank_{rank}"):
                body()
    torch._dynamo.reset()
    return folder


def compared(folder: Path, *bodies: Callable[[], object]) -> list[Divergence]:
    """Where these ranks part."""
    read = dumps.read(dump(folder, bodies))
    return divergences({rank: one.steps for rank, one in read.items()})
