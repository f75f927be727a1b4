"""Memory of a GPU that other processes of the host may map, through the driver's own library.

PyTorch's allocator cannot share what it hands out in all of its configurations.
"""

from __future__ import annotations

import ctypes
import dataclasses

from crossdock.proxy.errors import CapacityError, TransportError

HANDLE_BYTES = 64
_LAZY_PEER_ACCESS = 1
# cuda.h: CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING, and the least of its values with
# which kernels of the GPU that owns the memory need no flush.
_WRITES_ORDERING, _ORDERED_FOR_OWNER = 118, 100


class _Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * HANDLE_BYTES)]


@dataclasses.dataclass(frozen=True)
class _Names:
    library: str
    allocate: str
    free: str
    share: str
    open: str
    close: str


_NAMES = {
    "cuda": _Names(
        "libcuda.so.1",
        "cuMemAlloc_v2",
        "cuMemFree_v2",
        "cuIpcGetMemHandle",
        "cuIpcOpenMemHandle_v2",
        "cuIpcCloseMemHandle",
    ),
    "hip": _Names(
        "libamdhip64.so",
        "hipMalloc",
        "hipFree",
        "hipIpcGetMemHandle",
        "hipIpcOpenMemHandle",
        "hipIpcCloseMemHandle",
    ),
}


class Driver:
    """Calls into the driver, in the context of what was PyTorch's current device at first.

    Args:
        backend: cuda or hip.
    """

    def __init__(self, backend: str) -> None:
        self._names = _NAMES[backend]
        self._library = ctypes.CDLL(self._names.library)
        self._context: ctypes.c_void_p | None = None
        if self._names is _NAMES["cuda"]:
            self._context = ctypes.c_void_p()
            self._library.cuCtxGetCurrent(ctypes.byref(self._context))

    def allocate(self, size: int) -> int:
        """Address of new memory; CapacityError when there is none."""
        address = ctypes.c_void_p()
        code = self._call(self._names.allocate, ctypes.byref(address), ctypes.c_size_t(size))
        if code:
            raise CapacityError(
                f"the GPU has no {size} bytes left for others to write into (driver error {code}); "
                "free memory, or build the Buffer with a smaller num_rdma_bytes"
            )
        return int(address.value or 0)

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call(self._names.free, ctypes.c_void_p(address))

    def share(self, address: int) -> bytes:
        """By which other processes open the memory; empty when it cannot be shared."""
        handle = _Handle()
        code = self._call(self._names.share, ctypes.byref(handle), ctypes.c_void_p(address))
        return b"" if code else bytes(handle)

    def open(self, handle: bytes) -> int:
        """Address of another process's memory here; TransportError when it is out of reach."""
        address = ctypes.c_void_p()
        code = self._call(
            self._names.open,
            ctypes.byref(address),
            _Handle.from_buffer_copy(handle),
            ctypes.c_uint(_LAZY_PEER_ACCESS),
        )
        if code:
            raise TransportError(f"memory of another process cannot be opened: driver error {code}")
        return int(address.value or 0)

    def close(self, address: int) -> None:
        """Undo `open`."""
        self._call(self._names.close, ctypes.c_void_p(address))

    def orders_writes_of_nics(self, device: int) -> bool:
        """Whether what a NIC writes into memory of the device is seen by its kernels in order.

        Of AMD's GPUs this is not known.
        """
        if self._context is None:
            return False
        value = ctypes.c_int()
        code = self._call("cuDeviceGetAttribute", ctypes.byref(value), _WRITES_ORDERING, device)
        return code == 0 and value.value >= _ORDERED_FOR_OWNER

    def _call(self, name: str, *arguments: object) -> int:
        call = getattr(self._library, name)
        if self._context is None:  # HIP's calls find the device by themselves
            return int(call(*arguments))
        # Whichever thread forgets the last reference gives memory back, and may have no context.
        self._library.cuCtxPushCurrent_v2(self._context)
        try:
            return int(call(*arguments))
        finally:
            self._library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
