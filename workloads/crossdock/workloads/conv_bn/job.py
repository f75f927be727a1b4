"""Trials of Ray Tune: each finds the largest batch of one contender."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from ray import tune
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import memory
from crossdock.workloads.conv_bn.contenders import Contender, contender
from crossdock.workloads.conv_bn.networks import NETWORKS
from crossdock.workloads.conv_bn.search import Search
from crossdock.workloads.rank import networks as factories
from crossdock.workloads.rank.models import Model
from crossdock.workloads.runner import Value

CUDA = "cuda"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is measured, by all trials alike."""

    model: str
    """A network of this package, LIBRARY:NAME or MODULE:FUNCTION."""
    shape: tuple[int, ...]
    """Of a sample."""
    cap: int
    """Bytes."""
    most: int
    """The largest batch."""
    device: str
    confirm: bool
    """Whether the batch that is found makes a real step on the CPU, whose peak is noted."""


def trial(config: dict[str, Any], task: Task) -> None:
    """A trial of Tune: reports each try; the last report has all of them."""
    name = cast(Contender, config["mode"])
    model = contender(built(task.model).eval(), name)
    search = Search(measure(model, task), task.cap, task.most)
    batch = search.run(lambda: tune.report({"batch": search.fits, "found": None}))
    found: Value = {
        "batch": batch,
        "bytes": search.bytes_at(batch),
        "tries": [list(one) for one in search.tries if math.isfinite(one[1])],
        "peak": _peak(model, task, batch) if task.confirm and batch else None,
    }
    tune.report({"batch": batch, "found": found})


def built(name: str) -> nn.Module:
    """The model of a task.

    Raises:
        ArgumentError: it is no module.
        ModelFailed: it cannot be made.
    """
    if name in NETWORKS:
        return NETWORKS[name]()
    made = factories.built(Model(name=name, factory=name))
    if not isinstance(made, nn.Module):
        raise ArgumentError(f"{name} gives a {type(made).__name__}; name a factory of a module")
    return made


def measure(model: nn.Module, task: Task) -> Callable[[int], float]:
    """What gives the bytes of a step by its batch: real ones on a GPU, else counted ones."""
    if task.device == CUDA:
        model.to(CUDA)
        return lambda batch: _on_gpu(model, task, batch)
    shadow = _shadow(model, task)
    return lambda batch: float(_counted(shadow, task, batch))


def _shadow(model: nn.Module, task: Task) -> nn.Module:
    """On the meta device, where nothing is computed; itself, where it cannot run there."""
    shadow = copy.deepcopy(model).to("meta")
    try:
        _counted(shadow, task, 1)
    except (NotImplementedError, RuntimeError):  # it looks at its values
        return model
    return shadow


def _counted(model: nn.Module, task: Task, batch: int) -> int:
    device = next(model.parameters()).device
    inputs = [torch.zeros(batch, *task.shape, device=device)]
    return memory.counted(model, model, inputs).total


def _on_gpu(model: nn.Module, task: Task, batch: int) -> float:
    try:
        return memory.peak_cuda(model, [torch.zeros(batch, *task.shape, device=CUDA)])
    except torch.cuda.OutOfMemoryError:
        return math.inf
    finally:
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()


def _peak(model: nn.Module, task: Task, batch: int) -> int | None:
    if task.device == CUDA:
        return None
    return memory.peak_cpu(model, [torch.zeros(batch, *task.shape)])
