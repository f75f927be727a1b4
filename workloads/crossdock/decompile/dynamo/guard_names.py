"""What the expressions of guards call, for files of guards to import.

Dynamo checks guards in C++; the names are its own, and so are most of the functions. Those that C++
keeps to itself are written here, with the same meaning.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Sequence
from typing import Any

import torch


def check_tensor(
    value: Any,
    type_name: str,
    keys: str,
    dtype: torch.dtype,
    *,
    device: int | None,
    requires_grad: bool,
    size: Sequence[int | None],
    stride: Sequence[int | None],
) -> bool:
    """Whether a tensor has what the graph was traced with; None stands for any number.

    Args:
        value: what is checked; anything but a tensor of that very type is refused.
        type_name: name of the class.
        keys: names of the dispatch keys, as torch prints them.
        dtype: of the elements.
        device: its index; None where the kind of device has none.
        requires_grad: as the tensor says it.
        size: numbers of elements, one for each dimension.
        stride: in elements, one for each dimension.
    """
    if type(value).__name__ != type_name or not isinstance(value, torch.Tensor):
        return False
    index = None if value.device.type in {"cpu", "meta"} else value.device.index
    return (
        _keys_here(value) == keys
        and value.dtype == dtype
        and index == device
        and value.requires_grad == requires_grad
        and _fits(size, value.size())
        and (value.layout is not torch.strided or _fits(stride, value.stride()))
    )


def check_no_aliasing(*tensors: torch.Tensor) -> bool:
    """Whether all are different objects."""
    return len({id(tensor) for tensor in tensors}) == len(tensors)


def check_global_state(expected: str) -> bool:
    """Whether modes, determinism and threads are as they were; ``expected`` is torch's JSON."""
    state = torch._C._dynamo.guards.GlobalStateGuard()
    state.__setstate__(expected)  # type: ignore[attr-defined]
    return bool(state.check())


_OWN = {
    "check_tensor": check_tensor,
    "check_no_aliasing": check_no_aliasing,
    "check_global_state": check_global_state,
    "torch": torch,
}


def resolves(name: str) -> bool:
    """Whether a file of guards can use the name."""
    return name in _OWN or name in _of_torch() or hasattr(builtins, name)


def __getattr__(name: str) -> Any:
    found = _of_torch().get(name)
    if found is None:
        raise AttributeError(f"{name} is no name that the guards of this torch use")
    return found


@functools.cache
def _of_torch() -> dict[str, Any]:
    """Dynamo's functions by the names that guards know them under; none where torch moved them."""
    guards = torch._dynamo.guards
    names: dict[str, Any] = dict(getattr(guards, "SYMPY_INTERP", {}))
    collect = getattr(guards, "_get_closure_vars", None)
    if collect is not None:
        names.update(collect())
    return {name: value for name, value in names.items() if value is not None}


def _keys_here(tensor: torch.Tensor) -> str:
    """The dispatch keys under which the tensor would be called now, as guards print them."""
    keys = torch._C._dispatch_keys(tensor)
    keys = keys | torch._C._dispatch_tls_local_include_set()
    keys = keys - torch._C._dispatch_tls_local_exclude_set()
    return str(keys).removeprefix("DispatchKeySet(").removesuffix(")")


def _fits(expected: Sequence[int | None], actual: Sequence[int]) -> bool:
    return len(expected) == len(actual) and all(
        want is None or want == have for want, have in zip(expected, actual, strict=True)
    )
