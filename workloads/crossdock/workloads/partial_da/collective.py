"""Sums over all workers of a training: the process group of torch.distributed, if there is one.

A loss of data-parallel training is made of global sums and counts, so that every worker holds the
loss of the whole batch, whatever part of the batch it has. ``total`` is its own adjoint: each of W
workers calls ``backward`` on its copy of the loss, gradients of parameters come out W times too
large when summed over workers, and ``average_gradients`` gives those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable


def workers() -> int:
    """How many there are; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this worker, from 0."""
    return dist.get_rank() if workers() > 1 else 0


def share(rows: torch.Tensor) -> torch.Tensor:
    """The part of this worker of a batch (B, ...) that all know; parts differ by a row at most."""
    return rows.tensor_split(workers())[rank()]


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over workers, of the same shape and dtype; gradients are summed likewise."""
    if workers() == 1:
        return values
    # Named, as the default is the group that there was when torch's module was imported.
    return differentiable.all_reduce(values, group=dist.group.WORLD)  # type: ignore[no-any-return, no-untyped-call]


def mean(values: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The mean over all elements of all workers' `values`; with `weights`, sum w v / sum w.

    Weights are of the shape of `values`; only their ratios matter.
    """
    if weights is None:
        count = values.new_tensor(float(values.numel()))
        sums = torch.stack([values.sum(), count])
    else:
        sums = torch.stack([(weights * values).sum(), weights.sum()])
    upper, lower = total(sums).unbind()
    return upper / lower


@torch.no_grad()
def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over workers.

    Those that have none must have none on any worker, as where all take the same steps.
    """
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    if workers() == 1 or not trained:
        return
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= workers()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
