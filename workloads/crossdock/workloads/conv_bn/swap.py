"""Modules that stay who they are, but compute in another way: their class is swapped in place.

So names, parameters, hooks, containers and all references to them stay as they were. Copies and
pickles keep the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


class Swapped(nn.Module):
    """Base of the ways. The class that a module had comes behind it in its new class."""

    _base: type[nn.Module]
    _own: Sequence[str] = ()
    """Attributes of an instance that belong to the way, and go with it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As the class that it had: the new one has no name to be found by."""
        made: Any = super().__reduce_ex__(protocol)
        if made[1] and made[1][0] is type(self):
            way = type(self).__mro__[1]
            return (_blank, (way, self._base, *made[1][1:]), *made[2:])
        return made


def swap(module: nn.Module, way: type[Swapped]) -> None:
    """Let `module` compute in this way."""
    module.__class__ = _swapped(way, type(module))


def undo(module: nn.Module) -> None:
    """Let it compute as it did; nothing happens to a module that was not swapped."""
    if isinstance(module, Swapped):
        for name in module._own:
            module.__dict__.pop(name, None)
        base_class: Any = module._base
        module.__class__ = base_class


def base(kind: type[nn.Module]) -> type[nn.Module]:
    """The class that a module had before, by the one that it has."""
    return kind._base if issubclass(kind, Swapped) else kind


_MADE: dict[tuple[type[Swapped], type[nn.Module]], type[Swapped]] = {}


def _swapped(way: type[Swapped], kind: type[nn.Module]) -> type[Swapped]:
    if (way, kind) not in _MADE:
        own = {"_base": kind, "__module__": kind.__module__, "__doc__": kind.__doc__}
        _MADE[way, kind] = type(kind.__name__, (way, kind), own)
    return _MADE[way, kind]


def _blank(way: type[Swapped], kind: type[nn.Module], *arguments: Any) -> nn.Module:
    """A new instance, as unpickling and copying want one."""
    made = _swapped(way, kind)
    new: nn.Module = made.__new__(made, *arguments)
    return new
