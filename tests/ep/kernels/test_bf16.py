"""The kernels' rounding to bf16 is PyTorch's, to nearest even."""

from __future__ import annotations

import torch
from tests.ep.worlds import INTERPRETED
from tests.harness import RankContext, run_ranks

LANES = 1 << 16
NAN = 0x7FC0
LOW_HALVES = (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)


def compare(rank: RankContext) -> None:
    from tests.ep.kernels.launched import cast_bf16

    patterns = torch.arange(1 << 16)
    bits = torch.cat([(patterns << 16) | low for low in LOW_HALVES])
    x = torch.where(bits >= 1 << 31, bits - (1 << 32), bits).int().view(torch.float32)
    out = torch.zeros(len(x), dtype=torch.int16)
    cast_bf16[(len(LOW_HALVES),)](x, out, len(x), LANES=LANES)
    is_nan = x.isnan()
    assert 0 < int(is_nan.sum()) < len(x)
    assert torch.equal(out[~is_nan], x[~is_nan].bfloat16().view(torch.int16))
    assert bool((out[is_nan] == NAN).all())


def test_rounding_of_every_bf16_and_of_what_lies_between() -> None:
    run_ranks(compare, 1, environment=INTERPRETED)
