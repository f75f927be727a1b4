"""Calls whose work the host does: their tensors come from the GPU, and their results go there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import torch

from crossdock.ep.stream import EventOverlap, expect_event

if TYPE_CHECKING:
    from crossdock.ep.buffer_base import BufferBase
    from crossdock.ep.gpu.gpu import Gpu

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B", bound="BufferBase")


def through_host(method: Callable[Concatenate[B, P], T]) -> Callable[Concatenate[B, P], T]:
    """``method``, which is for CPU tensors, also for those of a Buffer's GPU.

    The call waits for the GPU, so it cannot be captured in a graph, and its event has passed. Where
    kernels run the normal mode, ``method`` gets the tensors as they are.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: B, *args: P.args, **kwargs: P.kwargs) -> T:
        gpu = self._gpu
        if gpu is None or gpu.normal is not None:
            return method(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs)
        return _staged(gpu, method, given)

    return cast("Callable[Concatenate[B, P], T]", call)


def _staged(gpu: Gpu, method: Callable[..., T], given: inspect.BoundArguments) -> T:
    event = expect_event(given.arguments.pop("previous_event", None))
    if event is not None:
        event.current_stream_wait()
    is_async = given.arguments.pop("async_finish", False)
    host = torch.device("cpu")
    for name, value in given.arguments.items():
        given.arguments[name] = _moved(value, host)
    with gpu.host_rings():
        result = method(*given.args, **given.kwargs)
    moved: Any = _moved(result, gpu.platform.device)
    if is_async:
        moved = (*moved[:-1], EventOverlap(gpu.platform.event()))
    return cast("T", moved)


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors, and those in tuples, on the device; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if type(value) is tuple:
        return tuple(_moved(part, device) for part in value)
    return value
