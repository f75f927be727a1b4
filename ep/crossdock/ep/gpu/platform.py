"""Where kernels run: on a GPU, or in Triton's interpreter on the host.

Both give the same services: memory of the host that kernels may touch, memory of the device that
other ranks may map, and the tensors over them.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch

from crossdock.ep.gpu.driver import Driver
from crossdock.ep.gpu.events import GpuEvent
from crossdock.ep.stream import EventHandle
from crossdock.proxy.errors import ArgumentError, CapacityError, TransportError

_PORTABLE_AND_MAPPED = 3


class Platform(Protocol):
    """What a Buffer needs of its device."""

    backend: str
    """cuda, hip or interpreter: how kernels are compiled."""
    device: torch.device
    nics_may_write: bool
    """Whether a kernel that learns of a NIC's write through memory of the host also sees it."""

    def pin(self, address: int, size: int) -> None:
        """Let kernels use memory of the host at its own address."""

    def unpin(self, address: int) -> None:
        """Undo ``pin``."""

    def allocate(self, size: int) -> int:
        """Zeroed memory of the device, which others may map; its address."""

    def free(self, address: int) -> None:
        """Undo ``allocate``."""

    def share(self, address: int) -> bytes:
        """By which other ranks of the host ``open`` the memory; empty when they cannot."""

    def open(self, handle: bytes, size: int) -> int:
        """Another rank's memory; TransportError when it is out of reach."""

    def close(self, address: int) -> None:
        """Undo ``open``."""

    def bytes_at(self, address: int, size: int, owner: object = None) -> torch.Tensor:
        """uint8 [size] over memory of the device; the tensor and its views keep ``owner``."""

    def synchronize(self) -> None:
        """Wait for all kernels."""

    def rests(self, grace_s: float) -> bool:
        """Whether all kernels end within ``grace_s``."""

    def is_capturing(self) -> bool:
        """Whether launches go into a graph, so that the host may not wait for them."""

    def event(self, check: Callable[[], None] | None = None) -> EventHandle:
        """What was launched so far, as an event."""


class GpuPlatform:
    """A GPU of NVIDIA or AMD, PyTorch's current one."""

    def __init__(self) -> None:
        self.backend = "hip" if torch.version.hip else "cuda"
        self.device = torch.device("cuda", torch.cuda.current_device())
        torch.cuda.synchronize(self.device)  # the driver's context exists from here on
        self._driver = Driver(self.backend)
        self.nics_may_write = self._driver.orders_writes_of_nics(self.device.index)

    def pin(self, address: int, size: int) -> None:
        """See ``Platform``."""
        code = int(torch.cuda.cudart().cudaHostRegister(address, size, _PORTABLE_AND_MAPPED))
        if code:
            raise CapacityError(
                f"{size} bytes of the host cannot be mapped by the GPU (runtime error {code}); "
                "raise the limit of locked memory (ulimit -l)"
            )

    def unpin(self, address: int) -> None:
        """See ``Platform``."""
        torch.cuda.cudart().cudaHostUnregister(address)

    def allocate(self, size: int) -> int:
        """See ``Platform``."""
        address = self._driver.allocate(size)
        self.bytes_at(address, size).zero_()
        self.synchronize()
        return address

    def free(self, address: int) -> None:
        """See ``Platform``."""
        self._driver.free(address)

    def share(self, address: int) -> bytes:
        """See ``Platform``."""
        return self._driver.share(address)

    def open(self, handle: bytes, size: int) -> int:
        """See ``Platform``."""
        del size
        return self._driver.open(handle)

    def close(self, address: int) -> None:
        """See ``Platform``."""
        self._driver.close(address)

    def bytes_at(self, address: int, size: int, owner: object = None) -> torch.Tensor:
        """See ``Platform``."""
        return torch.as_tensor(_Memory(address, size, owner), device=self.device)

    def synchronize(self) -> None:
        """See ``Platform``."""
        torch.cuda.synchronize(self.device)

    def rests(self, grace_s: float) -> bool:
        """See ``Platform``."""
        ended = threading.Event()

        def wait() -> None:
            # After an error of the device nothing is known of its kernels.
            with contextlib.suppress(RuntimeError):
                self.synchronize()
                ended.set()

        waiting = threading.Thread(target=wait, name="crossdock-gpu-rests", daemon=True)
        waiting.start()
        waiting.join(grace_s)
        return ended.is_set()

    def is_capturing(self) -> bool:
        """See ``Platform``."""
        return torch.cuda.is_current_stream_capturing()

    def event(self, check: Callable[[], None] | None = None) -> EventHandle:
        """See ``Platform``."""
        return GpuEvent(check)


class _Memory:
    """What a tensor is made of, and keeps."""

    def __init__(self, address: int, size: int, owner: object) -> None:
        self.owner = owner
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }


class InterpreterPlatform:
    """Triton's interpreter: kernels are Python, and the memory of the device is the host's."""

    backend = "interpreter"
    device = torch.device("cpu")
    nics_may_write = True

    def __init__(self) -> None:
        if os.environ.get("TRITON_INTERPRET") != "1":
            raise ArgumentError(
                'device is "interpreter", but TRITON_INTERPRET=1 was not set when Python started'
            )
        self._memory: dict[int, tuple[int, mmap.mmap]] = {}

    def pin(self, address: int, size: int) -> None:
        """See ``Platform``: nothing to do."""

    def unpin(self, address: int) -> None:
        """See ``Platform``: nothing to do."""

    def allocate(self, size: int) -> int:
        """See ``Platform``."""
        file = os.memfd_create("crossdock-device")
        os.ftruncate(file, size)
        return self._map(file, size)

    def free(self, address: int) -> None:
        """See ``Platform``."""
        self.close(address)

    def share(self, address: int) -> bytes:
        """See ``Platform``."""
        return f"/proc/{os.getpid()}/fd/{self._memory[address][0]}".encode()

    def open(self, handle: bytes, size: int) -> int:
        """See ``Platform``."""
        try:
            return self._map(os.open(handle.decode(), os.O_RDWR), size)
        except OSError as error:
            raise TransportError(f"memory of another rank cannot be opened: {error}") from error

    def close(self, address: int) -> None:
        """See ``Platform``."""
        file, memory = self._memory.pop(address)
        os.close(file)
        # What a caller still holds of it keeps the mapping.
        with contextlib.suppress(BufferError):
            memory.close()

    def bytes_at(self, address: int, size: int, owner: object = None) -> torch.Tensor:
        """See ``Platform``."""
        memory = (ctypes.c_uint8 * size).from_address(address)
        memory.owner = owner  # type: ignore[attr-defined]  # the tensor keeps it
        return torch.frombuffer(memory, dtype=torch.uint8)

    def synchronize(self) -> None:
        """See ``Platform``: kernels have ended when their launch returns."""

    def rests(self, grace_s: float) -> bool:
        """See ``Platform``."""
        del grace_s
        return True

    def is_capturing(self) -> bool:
        """See ``Platform``."""
        return False

    def event(self, check: Callable[[], None] | None = None) -> EventHandle:
        """See ``Platform``."""
        del check
        return EventHandle()

    def _map(self, file: int, size: int) -> int:
        memory = mmap.mmap(file, size)
        address = torch.frombuffer(memory, dtype=torch.uint8).data_ptr()
        self._memory[address] = (file, memory)
        return address


def platform_of(device: Any) -> Platform | None:
    """The platform that ``Buffer(device=)`` names; None for the CPU.

    None as the argument means the current GPU where there is one, else the CPU.
    """
    if device is None:
        return GpuPlatform() if torch.cuda.is_available() else None
    if device == "interpreter":
        return InterpreterPlatform()
    kind = _kind_of(device)
    if kind == "cpu":
        return None
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise ArgumentError(f"device is {device!r}, but PyTorch sees no GPU here")
        return GpuPlatform()
    raise ArgumentError(f"device is {device!r}, but must be cpu, cuda, interpreter or None")


def _kind_of(device: Any) -> str | None:
    """What PyTorch takes it for; None when it knows no such device."""
    with contextlib.suppress(RuntimeError, TypeError):
        return torch.device(device).type
    return None
