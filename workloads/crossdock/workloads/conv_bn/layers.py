"""Which layers can be one: what keeps a convolution and a BatchNorm from it, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from crossdock.workloads.conv_bn import swap

CONVOLUTIONS: dict[type[nn.Module], int] = {
    nn.Linear: 0,
    nn.Conv1d: 1,
    nn.Conv2d: 2,
    nn.Conv3d: 3,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 2,
    nn.ConvTranspose3d: 3,
}
"""And over how many dimensions of space they go."""
NORMS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.BatchNorm1d: (0, 1),
    nn.BatchNorm2d: (2,),
    nn.BatchNorm3d: (3,),
    nn.SyncBatchNorm: (0, 1, 2, 3),
}
"""And how many dimensions of space they take."""


def norm_type(module: nn.Module) -> type[nn.Module] | None:
    """The class of NORMS that computes what this module does; None for any other module."""
    return _plain(module, NORMS, ("forward", "_check_input_dim"))


def conv_type(module: nn.Module) -> type[nn.Module] | None:
    """The class of CONVOLUTIONS that computes what this module does; None for any other module."""
    return _plain(module, CONVOLUTIONS, ("forward", "_conv_forward", "_output_padding"))


def is_norm(module: nn.Module) -> bool:
    """Whether it calls itself a BatchNorm, whatever it computes."""
    return isinstance(module, _BatchNorm)


def against_norm(norm: nn.Module) -> str | None:
    """Why this BatchNorm can never be one with a convolution; None if it may."""
    if norm_type(norm) is None:
        return f"{type(norm).__name__} computes something of its own"
    if norm.running_mean is None or norm.running_var is None:
        return "track_running_stats=False: it normalises by the batch in eval mode, too"
    if "parametrizations" in norm._modules:
        return "its parameters are computed by a parametrization"
    return None


def against_pair(conv: nn.Module, norm: nn.Module) -> str | None:
    """Why these two can never be one; None if they may."""
    reason = against_norm(norm)
    if reason:
        return reason
    kind, taker = conv_type(conv), norm_type(norm)
    if kind is None or taker is None:
        return f"{type(conv).__name__} is no convolution, or computes something of its own"
    if "parametrizations" in conv._modules:
        return "the convolution's weight is computed by a parametrization"
    if isinstance(conv, LazyModuleMixin) or isinstance(norm, LazyModuleMixin):
        return "one of them is lazy: convert the model after its first call"
    if CONVOLUTIONS[kind] not in NORMS[taker]:
        return f"a {taker.__name__} does not take what a {kind.__name__} gives"
    channels = conv.out_features if kind is nn.Linear else conv.out_channels
    if channels != norm.num_features:
        return f"the convolution gives {channels} channels, the BN takes {norm.num_features}"
    weight, mean = cast(Tensor, conv.weight), cast(Tensor, norm.running_mean)
    if weight.device != mean.device:
        return f"the convolution is on {weight.device}, the BN on {mean.device}"
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}; only real floating-point numbers are handled"
    return None


def against_input(conv: nn.Module, inputs: Tensor) -> str | None:
    """Why this input goes the way that it always went; None if it need not."""
    kind, weight = conv_type(conv), cast(Tensor, conv.weight)
    if kind is None or inputs.dim() != CONVOLUTIONS[kind] + 2:
        return f"its input has {inputs.dim()} dimensions: no batch, or more than one"
    if computing_dtype(inputs) != computing_dtype(weight):
        return f"its input is {inputs.dtype}, its weight {weight.dtype}"
    if inputs.device != weight.device:
        return f"its input is on {inputs.device}, its weight on {weight.device}"
    return None


def computing_dtype(tensor: Tensor) -> torch.dtype:
    """That in which a convolution takes the tensor, autocast considered."""
    kind = tensor.device.type
    if tensor.dtype == torch.float64 or not torch.amp.is_autocast_available(kind):
        return tensor.dtype
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def hooked(module: nn.Module) -> bool:
    """Whether hooks wait for its call."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def all_hooked() -> bool:
    """Whether hooks wait for the call of any module."""
    return bool(module_hooks._has_any_global_hook())  # type: ignore[no-untyped-call]


def _plain(
    module: nn.Module, known: Iterable[type[nn.Module]], computing: tuple[str, ...]
) -> type[nn.Module] | None:
    """The known class whose methods the module has: subclasses that only add others are in."""
    kind = swap.base(type(module))
    for each in known:
        if issubclass(kind, each) and "forward" not in module.__dict__:
            same = (
                getattr(kind, name, None) is getattr(each, name, None)
                for name in (*computing, "__call__")
            )
            return each if all(same) else None
    return None
