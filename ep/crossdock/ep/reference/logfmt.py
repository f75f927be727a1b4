"""LogFMT: ten bits a value, a sign and a logarithm, on a grid of its own for each 128 channels.

A block's grid has 511 magnitudes, evenly spaced in log2 from its smallest magnitude (or 2^-32 of
its largest) to its largest; code 0 is zero. On the wire a block is 168 bytes: float32 log_amin,
float32 step, then value i at bit 10*i of the other 160 bytes, little endian; within a value the
code is bits 0 to 8 and the sign bit 9.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .checks import expect_blocks, expect_dtype

BLOCK = 128
CODE_MAX = 511
SIGN_BIT = 512
LOG_RANGE_MAX = 32.0
HEADER_BYTES = 8
BLOCK_BYTES = HEADER_BYTES + BLOCK * 10 // 8


class Quantised(NamedTuple):
    log_amin: Tensor  # float32[..., blocks]; 0 for a block of zeros
    step: Tensor  # float32[..., blocks]; 0 where all magnitudes are equal
    values: Tensor  # int64[..., blocks, 128]: sign and code


def logfmt_encode(x: Tensor) -> Tensor:
    """uint8[..., H/128 * 168]: the wire format. Values must be finite."""
    quantised = _quantise(x)
    header = torch.stack([quantised.log_amin, quantised.step], -1).view(torch.uint8)
    # Four values fill exactly five bytes.
    first, second, third, fourth = torch.unflatten(quantised.values, -1, (-1, 4)).unbind(-1)
    word = first | (second << 10) | (third << 20) | (fourth << 30)
    packed = torch.stack([(word >> shift) & 0xFF for shift in range(0, 40, 8)], -1).flatten(-2)
    return torch.cat([header, packed.to(torch.uint8)], -1).flatten(-2)


def logfmt_decode(wire: Tensor) -> Tensor:
    """float32[..., H]."""
    expect_dtype("wire", wire, torch.uint8)
    if wire.shape[-1] == 0 or wire.shape[-1] % BLOCK_BYTES != 0:
        raise ValueError(
            f"wire has {wire.shape[-1]} bytes; pass a positive multiple of {BLOCK_BYTES}"
        )
    blocks = torch.unflatten(wire, -1, (-1, BLOCK_BYTES))
    header = blocks[..., :HEADER_BYTES].contiguous().view(torch.float32)
    fives = torch.unflatten(blocks[..., HEADER_BYTES:].long(), -1, (-1, 5))
    word = sum((fives[..., i] << (8 * i) for i in range(1, 5)), start=fives[..., 0])
    values = torch.stack([(word >> shift) & 0x3FF for shift in (0, 10, 20, 30)], -1).flatten(-2)
    return _dequantise(Quantised(header[..., 0], header[..., 1], values))


def logfmt_roundtrip(x: Tensor) -> Tensor:
    """What arrives of `x`, as bf16."""
    return _dequantise(_quantise(x)).bfloat16()


def _quantise(x: Tensor) -> Quantised:
    expect_dtype("x", x, torch.bfloat16, torch.float32)
    expect_blocks(x.shape[-1], BLOCK)
    blocks = torch.unflatten(x.float(), -1, (-1, BLOCK))
    log_a = torch.log2(blocks.abs())  # -inf for a zero
    is_zero = blocks == 0
    is_zero_block = is_zero.all(-1)
    log_amax = log_a.amax(-1)
    log_amin = torch.where(is_zero, torch.inf, log_a).amin(-1)
    log_amin = torch.maximum(log_amin, log_amax - LOG_RANGE_MAX)
    step = torch.where(is_zero_block, 0.0, (log_amax - log_amin) / (CODE_MAX - 1))
    log_amin = torch.where(is_zero_block, 0.0, log_amin)

    # Halfway between two magnitudes, one 2^step of the other, is not halfway between their logs:
    # this rounding makes the floor choose the nearer magnitude, not the nearer log.
    rounding = 2.0 - torch.log2((1.0 + torch.exp2(step)) / 2.0) / step
    position = (log_a - log_amin.unsqueeze(-1)) / step.unsqueeze(-1) + rounding.unsqueeze(-1)
    code = position.floor().clamp(1, CODE_MAX)
    code = torch.where(step.unsqueeze(-1) == 0, 1.0, code)
    code = torch.where(is_zero, 0.0, code).long()
    return Quantised(log_amin, step, torch.where(blocks < 0, code | SIGN_BIT, code))


def _dequantise(quantised: Quantised) -> Tensor:
    log_amin, step, values = quantised
    code = values & CODE_MAX
    magnitude = torch.exp2(log_amin.unsqueeze(-1) + (code - 1) * step.unsqueeze(-1))
    magnitude = torch.where(code == 0, 0.0, magnitude)
    return torch.where(values & SIGN_BIT != 0, -magnitude, magnitude).flatten(-2)
