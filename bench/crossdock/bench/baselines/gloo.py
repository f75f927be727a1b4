"""torch.distributed over gloo: what PyTorch offers for CPU tensors."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

NAME = "gloo"


class GlooWire:
    """``all_to_all_single`` over the default group."""

    def all_to_all(
        self, received: Tensor, sent: Tensor, receive: Sequence[int], send: Sequence[int]
    ) -> None:
        """See ``Wire.all_to_all``."""
        dist.all_to_all_single(received, sent, list(receive), list(send))


def ping_pong(rank: int, sent: Tensor, received: Tensor, count: int) -> list[float]:
    """One-way seconds of ping-pongs between ranks 0 and 1; rank 1 has nothing to tell."""
    seconds: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        if rank == 0:
            dist.send(sent, 1)
            dist.recv(received, 1)
            seconds.append((time.perf_counter() - start) / 2)
        else:
            dist.recv(received, 0)
            dist.send(sent, 0)
    return seconds
