"""Bytes that a training step takes: counted, which gives the same on every machine, or real."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of a step of a model on some inputs."""

    saved: int
    """Kept from the forward for the backward pass, parameters and buffers not counted."""
    parameters: int
    """With buffers."""
    gradients: int

    @property
    def total(self) -> int:
        """What must be there at once when the backward pass begins."""
        return self.saved + self.parameters + self.gradients


def counted(model: Callable[..., Any], owner: nn.Module, inputs: Sequence[Any]) -> Counted:
    """Count unique storages that autograd keeps in a forward pass; on a meta device nothing runs.

    Args:
        model: what is called, such as a compiled form of `owner`.
        owner: whose parameters and buffers are not counted as kept.
        inputs: what it is called with; they count if they are kept.
    """
    owned = list(itertools.chain(owner.parameters(), owner.buffers()))
    known = {_key(one) for one in owned}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[_key(tensor)] = tensor.untyped_storage()  # held, so that no other takes its place
        return tensor

    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        out = model(*inputs)
    found = sum(storage.nbytes() for key, storage in kept.items() if key not in known)
    del out
    unique = {_key(one): one.untyped_storage().nbytes() for one in owned}
    trained = {_key(one): _bytes(one) for one in owner.parameters() if one.requires_grad}
    return Counted(saved=found, parameters=sum(unique.values()), gradients=sum(trained.values()))


def step(model: Callable[..., Any], inputs: Sequence[Any]) -> None:
    """Forward and backward: the sum of all that comes out is the loss."""
    outputs = _pytree.tree_leaves(model(*inputs))
    total = sum(one.float().sum() for one in outputs if isinstance(one, Tensor))
    if isinstance(total, Tensor):
        torch.autograd.backward(total)


def peak_cuda(model: nn.Module, inputs: Sequence[Any]) -> int:
    """Most bytes that PyTorch had allocated on the current GPU in a step, with what was there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step(model, inputs)
    torch.cuda.synchronize()
    model.zero_grad(set_to_none=True)
    return int(torch.cuda.max_memory_allocated())


def peak_cpu(model: nn.Module, inputs: Sequence[Any]) -> int:
    """Most bytes that PyTorch had allocated on the CPU in a step, with parameters and buffers.

    Temporary memory of libraries that do not ask PyTorch for it is not in it.
    """
    before = sum(
        {
            _key(one): one.untyped_storage().nbytes()
            for one in itertools.chain(model.parameters(), model.buffers())
        }.values()
    )
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        step(model, inputs)
    model.zero_grad(set_to_none=True)
    return before + _highest(profile)


def _highest(profile: Any) -> int:
    """Of the running sum of what was allocated and freed since the profile began."""
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profile.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    now = highest = 0
    for _, change in sorted(changes, key=lambda one: one[0]):
        now += change
        highest = max(highest, now)
    return highest


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
