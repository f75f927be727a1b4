"""The pages that are pinned, and kernels that do not end."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.ep.gpu.lives import (
    SIZE,
    Pins,
    Warnings,
    device_of,
    interpreted,
    is_all_given_back,
    round_of,
    where_it_runs,
)
from tests.ep.worlds import INTERPRETED
from tests.harness import RankContext, run_ranks

from crossdock.ep.gpu.held import PAGE_BYTES, whole_pages
from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.ep.kernels import view as table
from crossdock.ep.stream import EventHandle
from crossdock.proxy.errors import DestroyedError

_PLACES = st.integers(0, 12 * PAGE_BYTES)


def pages(begin: int, size: int) -> set[int]:
    return {(begin + byte) // PAGE_BYTES for byte in (*range(0, size, PAGE_BYTES), size - 1)}


@given(st.lists(st.tuples(_PLACES, st.integers(0, 3 * PAGE_BYTES)), max_size=6))
def test_pages_are_those_of_the_stretches_each_once(stretches: list[tuple[int, int]]) -> None:
    found = whole_pages(stretches)
    assert all(begin % PAGE_BYTES == 0 and size % PAGE_BYTES == 0 < size for begin, size in found)
    each = [page for begin, size in found for page in sorted(pages(begin, size))]
    wanted = {page for begin, size in stretches if size for page in pages(begin, size)}
    assert sorted(each) == sorted(wanted)


def test_neighbours_in_memory_stay_two_stretches() -> None:
    """They may be of two mappings, which drivers do not take for one."""
    assert whole_pages([(4096, 4096), (8192, 1)]) == [(4096, 4096), (8192, 4096)]


def no_end(rank: RankContext) -> None:
    """Kernels of rank 0 do not end, perhaps because of others that wait for a rank that is gone."""
    pins = Pins()
    buffer = interpreted(rank, timeout_s=2.0)
    device, platform = device_of(buffer), where_it_runs(buffer)
    round_of(buffer)
    pace = rank.exchange("pace")
    pace.all_gather(b"", 20)
    warnings = Warnings()
    if rank.rank == 0:
        graces: list[float] = []

        def rests(grace_s: float) -> bool:
            graces.append(grace_s)
            return False

        patch = pytest.MonkeyPatch()
        patch.setattr(platform, "rests", rests)
        held, open_now = dict(pins.now), set(platform._memory)
        buffer.destroy()
        assert graces == [0.5, 2.0]
        assert device.control[table.STOP.value] == table.GIVE_UP.value
        assert pins.now == held
        assert set(platform._memory) == open_now
        assert len(warnings.texts) == 1, warnings.texts
        assert "rank 0: kernels still run 2 s after the end of their Buffer" in warnings.texts[0]
        # What they use is there, whoever else has forgotten it.
        del device, buffer
        gc.collect()
        assert platform.bytes_at(min(open_now), 1).numel() == 1
        assert set(platform._memory) == open_now
        pace.all_gather(b"", 20)
    else:
        pace.all_gather(b"", 20)
        own = {device.peers[1], device.inboxes[1]}
        buffer.destroy()
        assert set(platform._memory) == own
        assert sum("rank(s) 0 may still write" in text for text in warnings.texts) == 2
        assert not pins.now
    pace.all_gather(b"", 20)


def test_what_kernels_use_that_do_not_end_is_kept() -> None:
    run_ranks(no_end, SIZE, environment=INTERPRETED)


def cut_short(rank: RankContext, rests: bool) -> None:
    """An event of a call that had ended is good for ever; of one that was ended it says so."""

    class Checked(EventHandle):
        """As that of a GPU."""

        def __init__(self, check: Callable[[], None]) -> None:
            super().__init__()
            self.current_stream_wait = check  # type: ignore[method-assign]

    patch = pytest.MonkeyPatch()
    patch.setattr(InterpreterPlatform, "event", lambda _, check: Checked(check))
    buffer = interpreted(rank)
    round_of(buffer)
    platform = where_it_runs(buffer)
    idx = torch.zeros((2, 2), dtype=torch.int64)
    *_, event = buffer.get_dispatch_layout(idx, 4, async_finish=True)
    event.current_stream_wait()
    rank.exchange("pace").all_gather(b"", 20)
    if not rests:
        answers = [False]
        patch.setattr(platform, "rests", lambda _: answers.pop() if answers else True)
    buffer.destroy()
    if rests:
        event.current_stream_wait()
    else:
        for _ in range(2):
            with pytest.raises(DestroyedError, match="the Buffer was destroyed during a call"):
                event.current_stream_wait()
    assert is_all_given_back(platform)


@pytest.mark.parametrize("rests", [True, False])
def test_events_after_the_end(rests: bool) -> None:
    run_ranks(cut_short, SIZE, rests, environment=INTERPRETED)
