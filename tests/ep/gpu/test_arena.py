"""Memory in which rows are staged grows with what calls need."""

from __future__ import annotations

import pytest
from tests.ep.gpu.lives import Pins, device_of, interpreted
from tests.ep.worlds import INTERPRETED, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep.gpu.arena import Arena
from crossdock.proxy.errors import CapacityError

MIB = 1 << 20


def grow(rank: RankContext, captured: bool) -> None:
    """What was there before makes room, but not for a graph."""
    pins = Pins()
    buffer = interpreted(rank, world=on_one_node(1, "shm", 1), heap_bytes=16 * MIB)
    device = device_of(buffer)
    before = dict(pins.now)
    arena = Arena(device)
    arena.parts([6 * MIB])
    patch = pytest.MonkeyPatch()
    if captured:
        patch.setattr(device.platform, "is_capturing", lambda: True)
        arena.parts([6 * MIB])
        patch.undo()
        with pytest.raises(CapacityError, match="no free stretch"):
            arena.parts([11 * MIB])
    else:
        arena.parts([11 * MIB])
    new = [size for address, size in pins.now.items() if address not in before]
    assert new == [6 * MIB if captured else 12 * MIB]
    buffer.destroy()
    assert not pins.now


@pytest.mark.parametrize("captured", [False, True])
def test_it_grows(captured: bool) -> None:
    run_ranks(grow, 1, captured, environment=INTERPRETED)
