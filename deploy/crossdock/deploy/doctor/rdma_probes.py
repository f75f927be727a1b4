"""What can be found out about RDMA by asking our own binding, and by trying.

Each function raises OSError with the reason where it does not work.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from crossdock.deploy.doctor.probes import run
from crossdock.proxy.options import Options

if TYPE_CHECKING:
    from crossdock.proxy._native import DeviceFacts, NicChoice, RegistrationProof

# In a process of its own: a driver that is broken may hang or crash.
_DMA_BUF_PROGRAM = """
import ctypes
# Of CUdevice_attribute; below 100 the owner of the memory may see a NIC's writes out of order.
DMA_BUF_SUPPORTED, RDMA_WRITES_ORDERING = 124, 118
try: cuda = ctypes.CDLL("libcuda.so.1")
except OSError: print("none")
else:
    dma_buf, order, get = ctypes.c_int(), ctypes.c_int(), cuda.cuDeviceGetAttribute
    error = cuda.cuInit(0)
    error = error or get(ctypes.byref(dma_buf), DMA_BUF_SUPPORTED, 0)
    error = error or get(ctypes.byref(order), RDMA_WRITES_ORDERING, 0)
    known = "unordered" if order.value < 100 else "yes" if dma_buf.value else "no"
    print(f"error {error}" if error else known)
"""


def need_libibverbs() -> None:
    """Open libibverbs, as a transport would."""
    _core().need_libibverbs()


def need_libefa() -> None:
    """Open libefa, as the transport efa would."""
    _core().need_libefa()


def devices() -> list[DeviceFacts]:
    """Every device that can be opened; none on a kernel without RDMA."""
    found: list[DeviceFacts] = _core().list_rdma_devices()
    return found


def need_remote_writes(device: str) -> None:
    """Ask an EFA device whether it can do what the transport needs."""
    _core().need_remote_writes(choice_of(device))


def prove_registration(device: str, size: int) -> RegistrationProof:
    """Register fresh memory with a device, and let it go."""
    proof: RegistrationProof = _core().prove_registration(choice_of(device), size)
    return proof


def choice_of(device: str) -> NicChoice:
    """Port, GID and MTU as a rank with the variables of this process would choose them."""
    options = Options.from_environment()
    choice: NicChoice = _core().NicChoice()
    choice.device = device
    for name in (options.rdma_devices or "").split(","):
        named, _, port = name.strip().partition(":")
        if named == device and port.isdigit():
            choice.port = int(port)
    choice.gid_index = -1 if options.rdma_gid_index is None else options.rdma_gid_index
    choice.roce_version = options.rdma_roce_version or ""
    choice.mtu_bytes = options.rdma_mtu_bytes or 0
    return choice


def cuda_dma_buf() -> str:
    """What the driver says of the first GPU.

    ``yes`` or ``no``; ``unordered``: what NICs write may be seen out of order; ``none`` without
    libcuda; ``error N``.
    """
    return run([sys.executable, "-I", "-S", "-c", _DMA_BUF_PROGRAM])


def _core() -> ModuleType:
    try:
        from crossdock.proxy import _native
    except ImportError as error:
        raise OSError(f"the native core cannot be loaded: {error}") from error
    return _native
