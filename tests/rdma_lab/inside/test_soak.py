"""Dispatch and combine over links that lose, delay and reorder, for a while."""

from __future__ import annotations

import pytest
from tests.rdma_lab import guest
from tests.rdma_lab.soak import RANKS, TOKENS, soak

SECONDS = 20.0


@pytest.mark.timeout(150)
def test_every_token_is_right_on_disturbed_links() -> None:
    done = soak(SECONDS)
    assert done.low_latency_rounds >= 8, done
    assert done.normal_rounds >= 1, done
    assert done.tokens > done.low_latency_rounds * RANKS * (TOKENS - 5), done
    assert done.packets > 10 * done.low_latency_rounds, done
    guest.await_none_registered()
