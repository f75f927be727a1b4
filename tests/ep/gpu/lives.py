"""What tests of the life of a Buffer on a GPU look at; the interpreter stands for the GPU."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
import torch
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_combine, check_dispatch
from tests.ep.worlds import World, build, on_one_node
from tests.harness import PATIENCE, RankContext

from crossdock.ep import Buffer
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.ep.gpu.region import free_what_was_kept

SIZE = 2
PAIR = on_one_node(SIZE, "shm", 1)
ROOM = (4, 128, 4)
SPEC = LowLatencySpec((2, 3), 4, 128, local_experts=2, topk=2)
_FREED_WITHIN_S = 20 * PATIENCE


def interpreted(rank: RankContext, name: str = "job", world: World = PAIR, **more: Any) -> Buffer:
    """A Buffer whose ranks write into each other's memory in both modes."""
    torch.set_num_threads(1)
    return build(rank, world, name, low_latency=ROOM, device="interpreter", **more)


def round_of(buffer: Buffer) -> None:
    """A low-latency dispatch and combine."""
    case = LowLatencyCase(SPEC)
    check_combine(buffer, case, check_dispatch(buffer, case))


def device_of(buffer: Buffer) -> Device:
    """What the Buffer shares with its proxies."""
    assert buffer._gpu is not None
    return buffer._gpu.low_latency.device


def where_it_runs(buffer: Buffer) -> InterpreterPlatform:
    """The platform of its kernels."""
    assert buffer._gpu is not None
    assert isinstance(buffer._gpu.platform, InterpreterPlatform)
    return buffer._gpu.platform


def is_all_given_back(platform: InterpreterPlatform) -> bool:
    """Whether no memory of the device is left, as soon as the neighbours are done with it."""
    end = time.monotonic() + _FREED_WITHIN_S
    while platform._memory and time.monotonic() < end:
        free_what_was_kept()
        time.sleep(0.01)
    return not platform._memory


class Warnings(logging.Handler):
    """What is said from now on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        logging.getLogger("crossdock").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(record.getMessage())


class Pins:
    """What the platform is asked to pin, in this process, from now on.

    Args:
        refuse_at: the number of the call, from 0, that raises ``refusal``.
    """

    def __init__(self, refuse_at: int | None = None, refusal: Exception | None = None) -> None:
        self.now: dict[int, int] = {}
        self.calls = 0
        self.platform: InterpreterPlatform | None = None
        pins = self

        def pin(platform: InterpreterPlatform, address: int, size: int) -> None:
            pins.platform = platform
            pins.calls += 1
            if refuse_at == pins.calls - 1:
                assert refusal is not None
                raise refusal
            for other, length in pins.now.items():
                assert address + size <= other or other + length <= address, "pinned twice"
            pins.now[address] = size

        def unpin(platform: InterpreterPlatform, address: int) -> None:
            del platform
            del pins.now[address]

        patch = pytest.MonkeyPatch()
        patch.setattr(InterpreterPlatform, "pin", pin)
        patch.setattr(InterpreterPlatform, "unpin", unpin)
