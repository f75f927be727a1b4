"""fp8 and LogFMT of the reference against searches and unpackers written another way."""

import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossdock.ep.reference import (
    fp8_cast,
    fp8_uncast,
    logfmt_decode,
    logfmt_encode,
    logfmt_roundtrip,
)

BOUNDED = settings(max_examples=40, deadline=None)

# The magnitudes of e4m3, by their code: code 0x7f is NaN.
E4M3 = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).double()


@st.composite
def tensors(draw: st.DrawFn, num_blocks: st.SearchStrategy[int]) -> Tensor:
    """bf16[rows, blocks * 128]: zeros, blocks of zeros, equal blocks, a wide range."""
    shape = (draw(st.integers(1, 4)), draw(num_blocks), 128)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    spread = draw(st.integers(0, 60))
    sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    exponent = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    x = sign * 2.0 ** (spread * exponent + draw(st.integers(-40, 40)))
    x[torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.3]))] = 0
    kind = torch.randint(0, 8, shape[:2], generator=generator)
    x[kind == 0] = 0
    x[kind == 1] = 0.75
    return x.bfloat16().flatten(1)


def nearest_e4m3(values: Tensor) -> Tensor:
    """Codes by search in float64; of two equally near, the even code."""
    distance = (values.double().abs().unsqueeze(-1) - E4M3).abs()
    is_nearest = distance == distance.amin(-1, keepdim=True)
    even_first = torch.arange(127) + 1000 * (torch.arange(127) % 2)
    code = torch.where(is_nearest, even_first, 10_000).amin(-1) % 1000
    return torch.where(values.signbit(), code + 128, code)


@BOUNDED
@given(tensors(st.integers(1, 3)))
def test_fp8_takes_the_nearest_value_on_the_grid(x: Tensor) -> None:
    values, scales = fp8_cast(x)
    blocks = x.float().reshape(len(x), -1, 128)
    amax = blocks.abs().amax(-1).clamp(min=1e-4)
    assert torch.equal(scales, amax / torch.tensor(448.0).expand_as(amax))
    scaled = blocks * (torch.tensor(448.0).expand_as(amax) / amax).unsqueeze(-1)
    assert torch.equal(values.view(torch.uint8), nearest_e4m3(scaled).flatten(1).byte())


def test_fp8_of_every_pair_of_mantissas() -> None:
    """Ties show whether 448 was divided by amax, or multiplied by a rounded reciprocal."""
    mantissas = 1 + torch.arange(128, dtype=torch.float32) / 128
    x = (mantissas / 16).repeat(128, 1)
    x[:, 0] = mantissas
    values, _ = fp8_cast(x.bfloat16())
    scaled = x * (torch.full_like(mantissas, 448.0) / mantissas).unsqueeze(-1)
    assert torch.equal(values.view(torch.uint8), nearest_e4m3(scaled).byte())


@BOUNDED
@given(tensors(st.integers(1, 3)))
def test_rounded_scales_are_the_next_power_of_two(x: Tensor) -> None:
    values, scales = fp8_cast(x, round_scale=True)
    _, exact = fp8_cast(x)
    for scale, at_least in zip(scales.flatten().tolist(), exact.flatten().tolist(), strict=True):
        assert math.frexp(scale)[0] == 0.5
        assert scale / 2 < at_least <= scale
    # Dividing by a power of two is exact in float64, whatever the fp8 cast made of it.
    scaled = x.double().reshape(len(x), -1, 128) / scales.double().unsqueeze(-1)
    assert torch.equal(values.view(torch.uint8), nearest_e4m3(scaled).flatten(1).byte())


def test_a_scale_that_is_a_power_of_two_stays() -> None:
    x = torch.full((1, 128), 448 * 2.0**-3, dtype=torch.bfloat16)
    assert fp8_cast(x, round_scale=True)[1].item() == 2.0**-3
    assert fp8_cast(x * 1.0625, round_scale=True)[1].item() == 2.0**-2


@BOUNDED
@given(tensors(st.sampled_from([4, 8])))
def test_ue8m0_is_four_biased_exponents_little_endian(x: Tensor) -> None:
    values, packed = fp8_cast(x, use_ue8m0=True)
    rounded, scales = fp8_cast(x, round_scale=True)
    assert packed.dtype == torch.int32
    assert packed.shape == (len(x), x.shape[1] // 512)
    assert torch.equal(values.view(torch.uint8), rounded.view(torch.uint8))
    for pack, four in zip(packed.flatten().tolist(), scales.reshape(-1, 4).tolist(), strict=True):
        assert [2.0 ** (byte - 127) for byte in struct.pack("<i", pack)] == four
    assert torch.equal(fp8_uncast(values, packed), fp8_uncast(rounded, scales))


@BOUNDED
@given(tensors(st.integers(1, 3)), st.booleans())
def test_fp8_comes_back_within_half_a_step(x: Tensor, round_scale: bool) -> None:
    values, scales = fp8_cast(x, round_scale)
    error = (fp8_uncast(values, scales, torch.float32).double() - x.double()).abs()
    # Three bits after the point for normal values; below 2^-6 a step is 2^-9.
    smallest = scales.double().repeat_interleave(128, dim=-1) * 2.0**-10
    bound = torch.maximum(x.double().abs() * 2.0**-4, smallest)
    assert (error <= bound * (1 + 2.0**-20)).all()


def unpack(block: bytes) -> tuple[float, float, list[int]]:
    log_amin, step = struct.unpack("<ff", block[:8])
    bits = int.from_bytes(block[8:], "little")
    return log_amin, step, [bits >> 10 * i & 0x3FF for i in range(128)]


@BOUNDED
@given(tensors(st.integers(1, 2)))
def test_logfmt_takes_the_nearest_magnitude(x: Tensor) -> None:
    wire = logfmt_encode(x)
    assert wire.shape == (len(x), x.shape[1] // 128 * 168)
    decoded = logfmt_decode(wire)
    for block, exact, got in zip(
        wire.reshape(-1, 168), x.double().reshape(-1, 128), decoded.reshape(-1, 128), strict=True
    ):
        log_amin, step, values = unpack(bytes(block.tolist()))
        grid = 2.0 ** (log_amin + torch.arange(511, dtype=torch.float64) * step)
        for value, a, b in zip(values, exact.tolist(), got.tolist(), strict=True):
            code = value & 511
            if a == 0:
                assert value == 0
                assert b == 0
                continue
            assert code >= 1
            assert (value >> 9 == 1) == (a < 0)
            assert abs(b) == pytest.approx(float(grid[code - 1]), rel=1e-4)
            nearest = float((grid - abs(a)).abs().min())
            assert abs(b - a) <= nearest + 1e-4 * max(abs(a), float(grid[0]))


@BOUNDED
@given(tensors(st.integers(1, 3)))
def test_logfmt_error_is_bounded(x: Tensor) -> None:
    blocks = x.double().reshape(-1, 128)
    error = (logfmt_decode(logfmt_encode(x)).double().reshape(-1, 128) - blocks).abs()
    magnitude = blocks.abs()
    amax = magnitude.amax(-1, keepdim=True)
    amin = torch.where(magnitude == 0, amax, magnitude).amin(-1, keepdim=True)
    amin = torch.maximum(amin, amax * 2.0**-32)
    step = torch.where(amax > 0, torch.log2(amax / amin) / 510, 0.0)
    # Half the gap to the next magnitude, or for what is below the grid, the distance to it.
    bound = torch.maximum(magnitude * (2.0**step - 1) / 2, amin - magnitude)
    assert (error <= bound + 1e-4 * torch.maximum(magnitude, amin)).all()


@BOUNDED
@given(tensors(st.integers(1, 3)))
def test_logfmt_roundtrip_is_encode_then_decode(x: Tensor) -> None:
    assert torch.equal(logfmt_roundtrip(x), logfmt_decode(logfmt_encode(x)).bfloat16())


def test_logfmt_of_zeros_and_of_equal_magnitudes() -> None:
    x = torch.zeros(1, 256, dtype=torch.bfloat16)
    assert bytes(logfmt_encode(x)[0].tolist()) == bytes(336)
    x[0, 129] = -0.0
    x[0, 130:140] = -2.0
    x[0, 140] = 2.0
    log_amin, step, values = unpack(bytes(logfmt_encode(x)[0, 168:].tolist()))
    assert (log_amin, step) == (1.0, 0.0)
    assert values == [0] * 2 + [513] * 10 + [1] + [0] * 115
    assert torch.equal(logfmt_roundtrip(x), x)


def test_the_ends_of_the_logfmt_grid() -> None:
    x = torch.full((1, 128), 2.0**-40, dtype=torch.bfloat16)
    x[0, 0], x[0, 1] = 1.0, -(2.0**-32)
    log_amin, step, values = unpack(bytes(logfmt_encode(x)[0].tolist()))
    assert log_amin == -32.0
    assert step == pytest.approx(32 / 510)
    assert values == [511, 513] + [1] * 126


def test_formats_keep_float32_under_another_default_dtype() -> None:
    x = torch.linspace(-3, 3, 1024, dtype=torch.float32).bfloat16().reshape(2, 512)
    expected = (*fp8_cast(x), *fp8_cast(x, True, True), logfmt_encode(x), logfmt_roundtrip(x))
    torch.set_default_dtype(torch.bfloat16)
    try:
        got = (*fp8_cast(x), *fp8_cast(x, True, True), logfmt_encode(x), logfmt_roundtrip(x))
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(expected, got, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def test_formats_refuse_what_does_not_fit() -> None:
    values, scales = fp8_cast(torch.zeros(2, 256, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="hidden is 130; pass a positive multiple of 128"):
        fp8_cast(torch.zeros(2, 130, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="hidden is 128; pass a positive multiple of 512"):
        fp8_cast(torch.zeros(2, 128, dtype=torch.bfloat16), use_ue8m0=True)
    with pytest.raises(TypeError, match=r"x is .*int32"):
        fp8_cast(torch.zeros(2, 128, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"scales have shape \[2, 1\]"):
        fp8_uncast(values, scales[:, :1])
    with pytest.raises(ValueError, match="hidden is 0"):
        logfmt_encode(torch.zeros(2, 0, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match=r"x is .*float64"):
        logfmt_roundtrip(torch.zeros(2, 128, dtype=torch.float64))
    with pytest.raises(ValueError, match="wire has 167 bytes"):
        logfmt_decode(torch.zeros(2, 167, dtype=torch.uint8))
    with pytest.raises(TypeError, match=r"wire is .*int8"):
        logfmt_decode(torch.zeros(2, 168, dtype=torch.int8))
