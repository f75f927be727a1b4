"""Where output channels are in a weight, against the layers themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crossdock.workloads.conv_bn import formula, geometry
from crossdock.workloads.conv_bn.formula import Block


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 8, 3, groups=2),
        nn.ConvTranspose2d(6, 8, 3, groups=2, stride=2),
        nn.ConvTranspose1d(6, 6, 2, groups=3),
        nn.Linear(6, 5),
    ],
    ids=str,
)
def test_a_scaled_weight_scales_the_output_channel(conv: nn.Module) -> None:
    conv = conv.double()
    weight = conv.weight
    assert isinstance(weight, torch.Tensor)
    x = torch.randn(2, 6, *(5,) * (weight.dim() - 2), dtype=torch.float64)
    channels = conv(x).shape[1]
    factor = torch.arange(1.0, channels + 1, dtype=torch.float64)
    _, how = geometry.prepared(conv, x)
    block = Block(weight, None, factor, None, torch.zeros(channels), torch.ones(channels))
    kernel = formula.folded_weight(block, factor, how)
    plain = geometry.run(x, weight, None, how)
    expected = plain * factor.reshape(1, -1, *(1,) * (weight.dim() - 2))
    torch.testing.assert_close(geometry.run(x, kernel, None, how), expected)
    each = formula.channel_sums(torch.ones_like(weight), how)
    assert each.shape == (channels,)
    assert each.sum() == weight.numel()
    assert (each == each[0]).all()
    marked = formula.spread(torch.eye(channels, dtype=torch.float64)[1], weight, how)
    sums = formula.channel_sums(marked.expand_as(weight), how)
    assert sums.nonzero().flatten().tolist() == [1]


def test_the_shift_is_beta_and_what_the_mean_leaves() -> None:
    one, two, three, four = (torch.tensor([float(n)]) for n in (1, 2, 3, 4))
    weight = torch.ones(1, 1)
    assert formula.folded_bias(Block(weight, one, two, three, four, one), two) == 3 + 2 * (1 - 4)
    assert formula.folded_bias(Block(weight, None, two, None, four, one), two) == -8
    assert formula.scale(Block(weight, None, two, None, four, three), 1.0) == 1.0
    assert formula.scale(Block(weight, None, None, None, four, three), 1.0) == 0.5
