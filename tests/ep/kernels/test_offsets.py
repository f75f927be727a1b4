"""Kernels reach slots that lie farther apart than 32 bits can say."""

from __future__ import annotations

import mmap
import os

import torch
from tests.ep.worlds import INTERPRETED
from tests.harness import RankContext, run_ranks

HIDDEN, SLOT_BYTES, PLACE = 8, 16 << 20, 200  # the place begins at 3.3 GB


def send_far(rank: RankContext) -> None:
    from crossdock.ep.kernels import view as table
    from crossdock.ep.kernels.low_latency_dispatch import send

    del rank
    size = (PLACE + 1) * SLOT_BYTES
    file = os.memfd_create("far")  # only what is written takes memory
    os.ftruncate(file, size)
    with mmap.mmap(file, size) as memory:
        whole = torch.frombuffer(memory, dtype=torch.uint8)
        view = torch.zeros(table.PEERS.value + 2, dtype=torch.int64)
        view[table.PEERS.value] = whole.data_ptr()
        state = torch.zeros(table.STATE_WORDS, dtype=torch.int64)
        x = torch.arange(HIDDEN, dtype=torch.bfloat16).view(1, HIDDEN)
        place_of = torch.tensor([[PLACE]], dtype=torch.int32)
        zero = torch.zeros(1, dtype=torch.int64)
        send[(1,)](
            view, state, x, zero.view(1, 1), zero, place_of, 0, 0, 0, 0, SLOT_BYTES, PLACE + 1,
            RANK=0, RANKS=1, RANK_LANES=1, HIDDEN=HIDDEN, FORMAT=0, K=1, K_LANES=1, BLOCKS=1,
            RINGS=1, CAPACITY=16, FENCE_BY="interpreter",
        )  # fmt: skip
        row = PLACE * SLOT_BYTES + 32
        there = whole[row : row + 2 * HIDDEN].clone()
        del whole
    os.close(file)
    assert torch.equal(there.view(torch.bfloat16), x[0])


def test_a_token_goes_to_a_far_slot() -> None:
    run_ranks(send_far, 1, environment=INTERPRETED)
