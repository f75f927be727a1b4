"""All that a Buffer on a GPU has beside one on the CPU."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from crossdock.ep import _native
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.low_latency import GpuLowLatencyMode
from crossdock.ep.gpu.normal import GpuNormalMode
from crossdock.ep.gpu.platform import Platform
from crossdock.ep.gpu.watch import Watch
from crossdock.proxy import Communicator, Exchange
from crossdock.proxy.errors import ArgumentError


class Gpu:
    """Its low-latency mode, and the life of what it shares with the proxies.

    Args:
        region_at, region_bytes: the low-latency part of the main region; without bytes there is no
            low-latency mode.
        control_bytes: for messages of the normal mode; without them kernels do not run it.
        inbox_bytes: for its rows; None where ranks share no inboxes. See ``Device``.
        masking: ranks that do not answer are masked.
    """

    def __init__(
        self,
        platform: Platform,
        communicator: Communicator,
        exchange: Exchange,
        engine: _native.Engine,
        *,
        region_at: int,
        region_bytes: int,
        control_bytes: int,
        inbox_bytes: int | None,
        masking: bool,
    ) -> None:
        self.platform = platform
        self._device: Device | None = None
        self._low_latency: GpuLowLatencyMode | None = None
        self.normal: GpuNormalMode | None = None
        """None where the host does its work: without memory for it, or with several nodes."""
        if region_bytes == 0 and control_bytes == 0:
            return
        device = self._device = Device(
            platform, communicator, exchange, region_at, region_bytes, control_bytes, inbox_bytes
        )
        try:
            self._watch = Watch(device, engine, masking)
        except BaseException:
            device.release()
            device.free()
            raise
        if region_bytes:
            self._low_latency = GpuLowLatencyMode(device, engine, self._watch)
        if control_bytes:
            self.normal = GpuNormalMode(device, engine, self._watch)

    @property
    def low_latency(self) -> GpuLowLatencyMode:
        """The mode; ArgumentError when the Buffer has no memory for it."""
        if self._low_latency is None:
            raise ArgumentError("the Buffer was built with num_rdma_bytes=0")
        return self._low_latency

    def region(self) -> torch.Tensor:
        """uint8 over the low-latency region on the device."""
        device = self.low_latency.device
        return device.region_tensor(0, device.region_bytes)

    def mask(self, rank: int) -> None:
        """Leave a rank out of low-latency calls, for good."""
        _ = self.low_latency
        self._watch.mask(rank)

    def host_rings(self) -> AbstractContextManager[None]:
        """Within the block the host writes commands, and no kernel does."""
        return contextlib.nullcontext() if self._device is None else self._device.host_rings()

    def expect_no_capture(self) -> None:
        """ArgumentError while a graph is being captured: nobody may wait for kernels meanwhile."""
        if self.platform.is_capturing():
            raise ArgumentError(
                "a graph is being captured, but destroy waits for kernels; call it afterwards"
            )

    def release(self, grace_s: float) -> None:
        """End the waits of kernels that do not end by themselves, and give back what they use of
        the host and of neighbours."""
        if self._device is None:
            return
        rested = self.platform.rests(grace_s)
        self._device.leave()
        self._watch.close(rested)
        self._device.release()

    def free(self) -> None:
        """Give memory of the device back, after ``release``, when the neighbours know of it."""
        if self._device is not None:
            self._device.free()
            self._device = None
