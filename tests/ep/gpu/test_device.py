"""What a device pins, and what becomes of its memory, which neighbours write into, at its end."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch
from tests.ep.gpu.lives import (
    PAIR,
    SIZE,
    Pins,
    Warnings,
    device_of,
    interpreted,
    is_all_given_back,
    round_of,
    where_it_runs,
)
from tests.ep.gpu.test_failures import until
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import INTERPRETED
from tests.harness import Died, RankContext, run_ranks

from crossdock.ep import _native
from crossdock.ep.gpu.region import free_what_was_kept
from crossdock.proxy.errors import CapacityError, PeerLost

PAGE = 4096
MANY_BYTES = 1 << 24
SOON_S = 1.5  # less than neighbours are waited for


# ---- what is pinned -----------------------------------------------------------------------------


def pages(begin: int, size: int) -> set[int]:
    return set(range(begin // PAGE, -(-(begin + size) // PAGE)))


def pinned(rank: RankContext, direct: bool, odd: int) -> None:
    """``odd``: where the low-latency part begins within a page."""
    pins = Pins()
    buffer = interpreted(rank, num_nvl_bytes=MANY_BYTES + odd, peer_access=direct)
    at, size = buffer.communicator.native.region_stretch(0)
    found = {page for begin, length in pins.now.items() for page in pages(begin, length)}
    assert all(begin % PAGE == 0 and length % PAGE == 0 for begin, length in pins.now.items())
    needed = pages(at, _native.normal_bytes(SIZE))
    if not direct:
        needed |= pages(at + buffer._low_latency_at, buffer.num_rdma_bytes)
    assert found & pages(at, size) == needed

    check_normal(Seat(rank, PAIR, buffer), NormalSpec((3, 2), local_experts=2, topk=2))
    round_of(buffer)
    # Whoever wrote: nothing is where it was not pinned.
    region = torch.from_numpy(buffer.communicator.region_array(0))
    for page in needed:
        begin = page * PAGE - at
        region[begin : begin + PAGE] = 0
    assert not region.any()
    buffer.destroy()
    assert not pins.now


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "staged"])
@pytest.mark.parametrize("odd", [0, 256])
def test_only_what_kernels_touch_is_pinned(direct: bool, odd: int) -> None:
    run_ranks(pinned, SIZE, direct, odd, environment=INTERPRETED)


# ---- what neighbours write into -----------------------------------------------------------------


def leave_a_neighbour(rank: RankContext, masks: bool) -> None:
    """Rank 1 goes on, or rank 0 has masked it; its kernels may still write."""
    buffer = interpreted(rank, enable_shrink=masks)
    round_of(buffer)
    device, platform = device_of(buffer), where_it_runs(buffer)
    pace = rank.exchange("pace")
    pace.all_gather(b"", 20)
    if rank.rank == 0:
        if masks:
            buffer.low_latency_update_mask_buffer(1, True)
        warnings = Warnings()
        addresses = set(platform._memory) - {*device.peers, *device.inboxes} | {
            device.peers[0],
            device.inboxes[0],
        }
        buffer.destroy()
        assert set(platform._memory) == addresses, "all that is its own is left, and only that"
        assert len(warnings.texts) == 2, warnings.texts
        assert all("rank(s) 1 may still write" in text for text in warnings.texts)
        pace.all_gather(b"", 20)
        pace.all_gather(b"", 20)
        assert all(int(platform.bytes_at(address, 1)[0]) == 7 for address in addresses)
        free_what_was_kept()
        assert set(platform._memory) == addresses
        pace.all_gather(b"", 20)
        pace.all_gather(b"", 20)
        assert is_all_given_back(platform)
        assert len(warnings.texts) == 2, warnings.texts
        return
    pace.all_gather(b"", 20)
    for address in (device.peers[0], device.inboxes[0]):
        platform.bytes_at(address, 1)[0] = 7
    pace.all_gather(b"", 20)
    pace.all_gather(b"", 20)
    begun = time.monotonic()
    buffer.destroy()
    assert time.monotonic() - begun < SOON_S, "rank 0 has said that it is done"
    assert not platform._memory
    pace.all_gather(b"", 20)


@pytest.mark.parametrize("masks", [False, True], ids=["goes on", "is masked"])
def test_memory_is_kept_as_long_as_a_neighbour_may_write(masks: bool) -> None:
    run_ranks(leave_a_neighbour, SIZE, masks, environment=INTERPRETED)


def leave_at_once(rank: RankContext, dies: bool) -> None:
    buffer = interpreted(rank)
    platform = where_it_runs(buffer)
    round_of(buffer)
    warnings = Warnings()
    if dies and rank.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if dies:
        until(PeerLost, lambda: round_of(buffer))
    begun = time.monotonic()
    buffer.destroy()
    assert is_all_given_back(platform)
    if dies:
        assert time.monotonic() - begun < SOON_S
        assert not warnings.texts


@pytest.mark.parametrize("dies", [False, True], ids=["all leave", "a neighbour is killed"])
def test_nothing_is_kept_when_nobody_writes_any_more(dies: bool) -> None:
    may_die = {1} if dies else set()
    found = run_ranks(leave_at_once, SIZE, dies, may_die=may_die, environment=INTERPRETED)
    assert not dies or found[1] == Died(signal.SIGKILL)


def told_before_it_waits(rank: RankContext) -> None:
    """A neighbour that waits for who leaves learns it at once, and is done before the time is over.

    Else each would wait for the other one."""
    buffer = interpreted(rank, timeout_s=60.0)
    platform = where_it_runs(buffer)
    round_of(buffer)
    warnings = Warnings()
    rank.exchange("pace").all_gather(b"", 20)
    if rank.rank == 1:
        with pytest.raises(PeerLost, match="rank 0 has left"):
            round_of(buffer)
    else:
        time.sleep(0.5)
    begun = time.monotonic()
    buffer.destroy()
    assert time.monotonic() - begun < SOON_S
    assert not platform._memory
    assert not warnings.texts


def test_a_neighbour_that_waits_is_told_first() -> None:
    run_ranks(told_before_it_waits, SIZE, environment=INTERPRETED)


# ---- what goes wrong while it is built ----------------------------------------------------------


def fail_half_way(rank: RankContext, where: str) -> None:
    """The Buffer of rank 0 is there, and has memory of rank 1 open."""
    pace = rank.exchange("pace")
    if rank.rank == 0:
        buffer = interpreted(rank)
        pace.all_gather(b"", 20)
        with pytest.raises(PeerLost, match="rank 1 has left the job"):
            round_of(buffer)
        buffer.destroy()
        pace.all_gather(b"", 20)
        return
    refusal = CapacityError("no more of it")
    pins = Pins(2 if where == "pin" else None, refusal)
    monkey = pytest.MonkeyPatch()
    if where == "watch":

        def refuse(*_: object) -> None:
            raise refusal

        monkey.setattr("crossdock.ep.gpu.gpu.Watch", refuse)
    warnings = Warnings()
    with pytest.raises(CapacityError) as caught:
        interpreted(rank)
    assert pins.calls > 2
    assert not pins.now
    platform = pins.platform
    assert platform is not None
    # Not what it had opened; and its own as long as rank 0 has it.
    assert len(platform._memory) == 2
    assert sum("rank(s) 0 may still write" in text for text in warnings.texts) == 2
    pace.all_gather(b"", 20)
    pace.all_gather(b"", 20)
    assert is_all_given_back(platform)
    assert caught.value is refusal, "and it is still referred to"


@pytest.mark.parametrize("where", ["pin", "watch"])
def test_a_failed_beginning_leaves_nothing_behind(where: str) -> None:
    run_ranks(fail_half_way, SIZE, where, environment=INTERPRETED)
