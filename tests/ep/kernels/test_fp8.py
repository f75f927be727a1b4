"""The kernels' cast to fp8 is that of the reference, for whatever bf16 there is."""

from __future__ import annotations

import pytest
import torch
from tests.ep.inputs import same
from tests.ep.low_latency_cases import FORMATS
from tests.ep.worlds import INTERPRETED
from tests.harness import RankContext, run_ranks
from torch import Tensor

from crossdock.ep import reference

BLOCK = 128
BLOCKS = 512
KINDS = {"fp8": 1, "fp8 rounded": 2, "fp8 ue8m0": 3}


def all_patterns() -> Tensor:
    """bf16 [512, 128]: each block holds neighbours; a few are not finite."""
    return torch.arange(1 << 16).to(torch.int32).short().view(torch.bfloat16).view(BLOCKS, BLOCK)


def shuffled(seed: int, least: float, most: float) -> Tensor:
    """bf16 [512, 128] in which small values stand beside large ones."""
    values = all_patterns().flatten()
    magnitude = values.float().abs()
    # NaN is in no range.
    values = values[(magnitude == 0) | ((magnitude >= least) & (magnitude < most))]
    generator = torch.Generator().manual_seed(seed)
    at = torch.randint(0, len(values), (BLOCKS * BLOCK,), generator=generator)
    return values[at].view(BLOCKS, BLOCK)


def cast(x: Tensor, form: str) -> tuple[Tensor, Tensor, Tensor]:
    """Bytes, scales, exponents."""
    from tests.ep.kernels.launched import cast_fp8

    blocks = x.shape[0]
    values = torch.zeros(x.shape, dtype=torch.uint8)
    scales, exponents = torch.zeros(blocks), torch.zeros(blocks, dtype=torch.uint8)
    cast_fp8[(1,)](x, values, scales, exponents, FORMAT=KINDS[form], BLOCKS=blocks)
    return values, scales, exponents


def compare(rank: RankContext, form: str) -> None:
    finite = all_patterns()
    finite = finite[finite.float().isfinite().all(1)]
    finite = finite[: 4 * (len(finite) // 4)]
    assert len(finite) >= 500
    padding = torch.zeros((BLOCKS - len(finite), BLOCK), dtype=torch.bfloat16)
    everything = [torch.cat([finite, padding])]
    for seed in range(3):
        everything.append(shuffled(seed, 0.0, torch.inf))
        everything.append(shuffled(seed, 2.0**-24, 2.0**4))  # many become subnormal
        everything.append(shuffled(seed, 0.0, 1e-4))  # below the least maximum; subnormal in bf16
    choice = {k: v for k, v in FORMATS[form].items() if k != "use_fp8"}
    for x in everything:
        values, scales, exponents = cast(x, form)
        want, want_scales = reference.fp8_cast(x.view(-1, 4 * BLOCK), **choice)
        assert same(values.view(-1, 4 * BLOCK), want.view(torch.uint8))
        if form == "fp8 ue8m0":
            assert same(exponents.view(torch.int32).view(-1, 1), want_scales)
        else:
            assert same(scales.view(-1, 4), want_scales)


@pytest.mark.parametrize("form", sorted(KINDS))
def test_the_cast_of_every_bf16_is_that_of_the_reference(form: str) -> None:
    run_ranks(compare, 1, form, environment=INTERPRETED)


def compare_what_is_not_finite(rank: RankContext) -> None:
    """A NaN is not lost, nor an infinity: their blocks come out as PyTorch makes them."""
    x = shuffled(9, 0.0, 2.0**20)[:4].clone()
    x[0, 5], x[1, 7], x[2, 9] = torch.nan, torch.inf, -torch.inf
    values, scales, _ = cast(x, "fp8")
    want, want_scales = reference.fp8_cast(x)
    is_nan = values & 0x7F == 0x7F
    assert torch.equal(is_nan, want.float().isnan())
    assert torch.equal(values[~is_nan], want.view(torch.uint8)[~is_nan])
    assert torch.equal(scales.isnan(), want_scales.flatten().isnan())
    assert torch.equal(scales[1:], want_scales.flatten()[1:])
    assert bool(is_nan[0].all())
    assert is_nan.sum(1).tolist() == [BLOCK, 1, 1, 0]


def test_what_is_not_finite_stays_visible() -> None:
    run_ranks(compare_what_is_not_finite, 1, environment=INTERPRETED)
