"""Checks of tensors that callers pass, and tensors over the heap region."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import torch

from crossdock.ep._native import MAX_LOCAL_EXPERTS, MAX_TOPK
from crossdock.proxy import Communicator, schema
from crossdock.proxy._native import Communicator as NativeCommunicator
from crossdock.proxy.errors import ArgumentError, CapacityError

CPU = torch.device("cpu")
FP8 = torch.float8_e4m3fn
ROW_GRANULE = 16
MAX_ROW_BYTES = schema.MAX_TRANSFER_BYTES - 256
"""A row travels in one transfer; in low-latency mode with a head of at most 144 bytes."""


def expect_tensor(
    name: str,
    tensor: object,
    dtypes: Sequence[torch.dtype],
    shape: Sequence[int | None],
    *,
    contiguous: bool = True,
    device: torch.device = CPU,
) -> torch.Tensor:
    """``tensor``, when it is one on the device with this dtype and shape (None: any size)."""
    if not isinstance(tensor, torch.Tensor):
        raise ArgumentError(f"{name} is a {type(tensor).__name__}, but must be a tensor")
    if tensor.device != device:
        whose = "CPU tensors" if device == CPU else f"tensors on {device}"
        raise ArgumentError(f"{name} is on {tensor.device}, but this Buffer is for {whose}")
    if tensor.layout != torch.strided:
        raise ArgumentError(f"{name} has the layout {tensor.layout}, but must be dense")
    if tensor.dtype not in dtypes:
        wanted = " or ".join(str(dtype) for dtype in dtypes)
        raise ArgumentError(f"{name} is {tensor.dtype}, but must be {wanted}")
    fits = tensor.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        text = ", ".join("any" if want is None else str(want) for want in shape)
        raise ArgumentError(f"{name} has shape {list(tensor.shape)}, but must have [{text}]")
    if contiguous and not tensor.is_contiguous():
        raise ArgumentError(
            f"{name} has strides {tensor.stride()}, but must be contiguous; call .contiguous()"
        )
    return tensor


def expect_rows(name: str, x: torch.Tensor) -> None:
    """Rows travel in granules of 16 bytes; commands count them from the start of the tensor, which
    is a region of its own.
    """
    row_bytes = x.shape[-1] * x.element_size()
    if row_bytes == 0 or row_bytes % ROW_GRANULE:
        raise ArgumentError(
            f"a row of {name} has {row_bytes} bytes, but must have a positive multiple of "
            f"{ROW_GRANULE}"
        )
    if row_bytes > MAX_ROW_BYTES:
        raise CapacityError(f"a row of {name} has {row_bytes} bytes, the limit is {MAX_ROW_BYTES}")
    whole_bytes = x.shape[0] * row_bytes
    if whole_bytes > schema.MAX_REGION_BYTES:
        raise CapacityError(
            f"{name} has {whole_bytes} bytes, the limit is {schema.MAX_REGION_BYTES}; send it in "
            "parts"
        )


def expect_whole(name: str, value: object) -> int:
    """The whole number, whatever kind of one it is."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{name} is {value!r}, but must be a whole number") from None


def expect_experts(num_experts: int, num_ranks: int) -> None:
    """Experts are shared equally by the ranks."""
    if num_experts <= 0 or num_experts % num_ranks:
        raise ArgumentError(
            f"num_experts is {num_experts}, but must be a positive multiple of {num_ranks} ranks"
        )
    if num_experts // num_ranks > MAX_LOCAL_EXPERTS:
        raise CapacityError(
            f"{num_experts // num_ranks} experts on a rank, but the limit is {MAX_LOCAL_EXPERTS}"
        )


def expect_topk(
    topk_idx: object,
    num_tokens: int | None,
    num_experts: int,
    device: torch.device = CPU,
) -> torch.Tensor:
    """int64 [num_tokens, topk] with entries of -1 .. num_experts - 1.

    On a GPU the entries are not looked at: kernels do, and the next call tells.
    """
    tensor = expect_topk_shape(topk_idx, num_tokens, device)
    expect_choices(tensor, num_experts)
    return tensor


def expect_topk_shape(
    topk_idx: object, num_tokens: int | None, device: torch.device = CPU
) -> torch.Tensor:
    """int64 [num_tokens, topk], whatever it holds."""
    tensor = expect_tensor("topk_idx", topk_idx, [torch.int64], [num_tokens, None], device=device)
    if not 1 <= tensor.shape[1] <= MAX_TOPK:
        raise CapacityError(f"top-k is {tensor.shape[1]}, but must be between 1 and {MAX_TOPK}")
    return tensor


def expect_choices(tensor: torch.Tensor, num_experts: int) -> None:
    """Entries of -1 .. num_experts - 1, where they can be looked at."""
    if tensor.numel() and tensor.device.type == "cpu":
        low, high = (int(bound) for bound in torch.aminmax(tensor))
        if low < -1 or high >= num_experts:
            wrong = low if low < -1 else high
            raise ArgumentError(
                f"topk_idx holds {wrong}, but must hold -1 (none) or 0 to {num_experts - 1}"
            )


def heap_tensor(
    communicator: Communicator, shape: Sequence[int], dtype: torch.dtype
) -> tuple[torch.Tensor, int]:
    """A tensor in the heap region, and its offset there. It may outlive the communicator.

    Raises:
        CapacityError: the heap has no room.
    """
    size = math.prod(shape) * dtype.itemsize
    block = communicator.allocate(max(1, size))
    array = NativeCommunicator.block_array(block)
    flat = torch.from_numpy(array)[:size]
    return flat.view(dtype).view(tuple(shape)), block.offset


def local_tensor(
    communicator: Communicator, shape: Sequence[int], dtype: torch.dtype
) -> torch.Tensor:
    """A tensor that stays on this rank. In the heap region if it has room: touching the pages of
    fresh memory takes longer than filling them.
    """
    try:
        return heap_tensor(communicator, shape, dtype)[0]
    except CapacityError:
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")
