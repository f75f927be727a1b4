"""Memory of the device: who keeps it, and when it is free again."""

from __future__ import annotations

import dataclasses
import gc
import logging
from typing import cast

import pytest

from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.ep.gpu.region import Region, free_what_was_kept
from crossdock.ep.gpu.writers import Writer


@dataclasses.dataclass
class Neighbour:
    """Says itself whether it writes."""

    rank: int
    is_done: bool = False


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> InterpreterPlatform:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return InterpreterPlatform()


def of_neighbours(platform: InterpreterPlatform, *neighbours: Neighbour) -> Region:
    region = Region(platform, 100)
    region.writers.extend(cast("list[Writer]", neighbours))
    return region


def test_it_is_free_when_nothing_refers_to_it(platform: InterpreterPlatform) -> None:
    region = Region(platform, 1)
    assert region.size == 1 << 16
    assert list(platform._memory) == [region.address]
    del region
    assert not platform._memory


def test_a_tensor_keeps_it(platform: InterpreterPlatform) -> None:
    region = Region(platform, 1)
    part = region.bytes()[10:20].view(2, 5)
    del region
    gc.collect()
    assert len(platform._memory) == 1
    assert part.fill_(3).sum() == 30
    del part
    assert not platform._memory


def test_it_is_kept_until_all_neighbours_are_done(
    platform: InterpreterPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    neighbours = [Neighbour(5), Neighbour(3), Neighbour(9, is_done=True)]
    region = of_neighbours(platform, *neighbours)
    with caplog.at_level(logging.WARNING):
        del region
    assert "65536 bytes of this rank's device are kept: rank(s) 3, 5 may still write" in caplog.text
    caplog.clear()
    neighbours[0].is_done = True
    free_what_was_kept()
    assert len(platform._memory) == 1
    neighbours[1].is_done = True
    free_what_was_kept()
    assert not platform._memory
    free_what_was_kept()
    assert not caplog.text, "it is said once"


def test_new_memory_takes_the_place_of_what_was_kept(platform: InterpreterPlatform) -> None:
    neighbour = Neighbour(1)
    region = of_neighbours(platform, neighbour)
    del region
    neighbour.is_done = True
    region = Region(platform, 1)
    assert list(platform._memory) == [region.address]
