"""Without a process group it is torch's own; with one, see ``test_distributed``."""

from __future__ import annotations

import torch
from torch import nn

from crossdock.workloads.partial_da.batch_norm import GlobalBatchNorm, globalise


def test_all_inside_are_replaced_and_compute_as_before() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12))
    other = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12))
    other.load_state_dict(net.state_dict())
    assert globalise(net) is net
    assert [type(one) for one in net] == [nn.Conv2d, GlobalBatchNorm, nn.Flatten, GlobalBatchNorm]
    inputs = torch.randn(5, 1, 4, 4)
    assert torch.equal(net(inputs), other(inputs))
    net.eval()
    other.eval()
    assert torch.equal(net(inputs), other(inputs))
    assert all(torch.equal(net.state_dict()[key], one) for key, one in other.state_dict().items())
