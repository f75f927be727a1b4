"""A row travels in one transfer. One that is longer would be cut by the field for its length."""

from __future__ import annotations

import pytest
import torch
from tests.harness import RankContext, run_ranks
from tests.hazards.buffers import LOCAL_EXPERTS, built, dispatch, rows
from tests.networks import NETWORK

from crossdock.ep.tensors import MAX_ROW_BYTES
from crossdock.proxy.errors import CapacityError, PeerArgumentError
from crossdock.proxy.schema import MAX_TRANSFER_BYTES

BF16_BYTES = 2


def send_wide_rows(rank: RankContext, transport: str) -> None:
    """To the other rank: one that is too long here and there, and the longest."""
    with built(rank, transport) as buffer:
        idx = torch.tensor([[LOCAL_EXPERTS * (1 - rank.rank)]])
        experts = 2 * LOCAL_EXPERTS
        for too_long in (MAX_TRANSFER_BYTES + 16, MAX_ROW_BYTES + 16):
            with pytest.raises(
                CapacityError, match=f"{too_long} bytes, the limit is {MAX_ROW_BYTES}"
            ):
                dispatch(buffer, rows(1, 1, too_long // BF16_BYTES), idx, experts)
        x = torch.randn(1, MAX_ROW_BYTES // BF16_BYTES).bfloat16()
        received, _, _, _, handle, _ = dispatch(buffer, x, idx, experts)
        too_wide = rows(1, 1, MAX_TRANSFER_BYTES // BF16_BYTES + 8)
        error = CapacityError if rank.rank == 0 else PeerArgumentError
        with pytest.raises(error):
            buffer.combine(too_wide if rank.rank == 0 else received, handle)
        assert torch.equal(buffer.combine(received, handle)[0], x)


@pytest.mark.parametrize("transport", ["shm", NETWORK])
def test_rows_beyond_a_transfer_are_refused(transport: str) -> None:
    run_ranks(send_wide_rows, 2, transport)
