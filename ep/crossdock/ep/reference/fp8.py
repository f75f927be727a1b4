"""The cast to fp8 e4m3 with one scale for each 128 channels, and back."""

import torch
from torch import Tensor

from .checks import expect_blocks, expect_dtype

BLOCK = 128
FP8_MAX = 448.0
AMAX_MIN = 1e-4
SCALES_PER_PACK = 4

MANTISSA_BITS = 23  # of a float32


def fp8_cast(
    x: Tensor, round_scale: bool = False, use_ue8m0: bool = False
) -> tuple[Tensor, Tensor]:
    """fp8[..., H] and scales: float32[..., H/128], or int32[..., H/512] with `use_ue8m0`.

    `round_scale` rounds each scale up to a power of two. `use_ue8m0`, which implies it, gives a
    scale as its biased float32 exponent, one byte, four to an int32, the first one lowest.
    Values must be finite.
    """
    expect_dtype("x", x, torch.bfloat16, torch.float32)
    expect_blocks(x.shape[-1], BLOCK * SCALES_PER_PACK if use_ue8m0 else BLOCK)
    blocks = torch.unflatten(x.float(), -1, (-1, BLOCK))
    amax = blocks.abs().amax(-1).clamp(min=AMAX_MIN)
    # Torch may turn a division of or by a plain number into a product with a reciprocal.
    fp8_max = torch.full_like(amax, FP8_MAX)
    scale = amax / fp8_max
    if round_scale or use_ue8m0:
        scale = _round_up_to_power_of_two(scale)
        factor = scale.reciprocal()
    else:
        factor = fp8_max / amax
    values = (blocks * factor.unsqueeze(-1)).to(torch.float8_e4m3fn).flatten(-2)
    return values, _pack_exponents(scale) if use_ue8m0 else scale


def fp8_uncast(values: Tensor, scales: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Each value times its scale in float32, then as `dtype`."""
    expect_dtype("values", values, torch.float8_e4m3fn)
    expect_dtype("scales", scales, torch.float32, torch.int32)
    expect_blocks(values.shape[-1], BLOCK)
    scale = _unpack_exponents(scales) if scales.dtype == torch.int32 else scales
    blocks = torch.unflatten(values.float(), -1, (-1, BLOCK))
    if scale.shape != blocks.shape[:-1]:
        raise ValueError(
            f"scales have shape {list(scales.shape)} for values of {list(values.shape)}; "
            f"pass one scale for each {BLOCK} channels"
        )
    return (blocks * scale.unsqueeze(-1)).flatten(-2).to(dtype)


def _round_up_to_power_of_two(scale: Tensor) -> Tensor:
    # Of a positive normal float the bits above the mantissa are the biased exponent.
    bits = scale.view(torch.int32)
    is_between_powers = (bits & ((1 << MANTISSA_BITS) - 1)) != 0
    exponent = (bits >> MANTISSA_BITS) + is_between_powers.int()
    return (exponent << MANTISSA_BITS).view(torch.float32)


def _pack_exponents(scale: Tensor) -> Tensor:
    exponent = scale.view(torch.int32) >> MANTISSA_BITS
    first, second, third, fourth = torch.unflatten(exponent, -1, (-1, SCALES_PER_PACK)).unbind(-1)
    return first | (second << 8) | (third << 16) | (fourth << 24)


def _unpack_exponents(packed: Tensor) -> Tensor:
    exponents = [(packed >> shift) & 0xFF for shift in (0, 8, 16, 24)]
    return (torch.stack(exponents, -1).flatten(-2) << MANTISSA_BITS).view(torch.float32)
