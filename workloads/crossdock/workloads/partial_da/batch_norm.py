"""Batch normalisation over the batches of all workers, on CPUs too.

torch's SyncBatchNorm needs GPUs. This one keeps the names of parameters and statistics, so that
state dictionaries go both ways.
"""

from __future__ import annotations

import torch
from torch import nn

from crossdock.workloads.partial_da import collective


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Takes mean and variance of the global batch: sums and counts, summed over workers."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002 - torch's name
        if input.ndim < 2:
            raise ValueError(f"input has {input.ndim} dimensions, but 2 is the least")

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """Normalise (B, C, ...)."""
        self._check_input_dim(input)
        if collective.workers() == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        others = [axis for axis in range(input.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        count = input.new_tensor([float(input.numel() // input.shape[1])])
        sums = collective.total(torch.cat([input.sum(others), count]))
        size = sums[-1]
        mean = sums[:-1] / size
        centred = input - mean.view(shape)
        variance = collective.total(centred.square().sum(others)) / size
        self._remember(mean.detach(), variance.detach() * size / (size - 1))
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if not self.affine:
            return scaled
        return scaled * self.weight.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        part = self.momentum
        if part is None:
            part = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), part)
        self.running_var.lerp_(variance.to(self.running_var.dtype), part)


def globalise(module: nn.Module) -> nn.Module:
    """Make every batch normalisation inside `module` a global one, in place; the module itself."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            each.__class__ = GlobalBatchNorm  # type: ignore[assignment]
    return module
