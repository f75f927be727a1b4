"""Which DeepEP the interface is that of, and how arguments of others are refused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from crossdock.proxy.errors import ArgumentError

SUPPORTED = "DeepEP 1.2 (Buffer) and 2.0, 2.1 (ElasticBuffer)"

C = TypeVar("C", bound=type)
P = ParamSpec("P")
T = TypeVar("T")


class UnknownArgument(ArgumentError, TypeError):
    """A keyword argument that the versions supported do not have; nothing has been done."""


def refuses_unknown(function: Callable[P, T]) -> Callable[P, T]:
    """``function``, but unknown keyword arguments raise UnknownArgument."""
    known = inspect.signature(function).parameters.keys()

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if not kwargs.keys() <= known:
            unknown = ", ".join(name for name in kwargs if name not in known)
            raise UnknownArgument(
                f"{function.__qualname__}() has no argument {unknown}; crossdock has the interface "
                f"of {SUPPORTED}: leave it out, or use a caller that was written for these"
            )
        return function(*args, **kwargs)

    return checked


def with_known_arguments(cls: C) -> C:
    """``cls``, whose constructor and public methods refuse unknown keyword arguments."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        function = member.__func__ if isinstance(member, staticmethod) else member
        if not inspect.isfunction(function) or _takes_any(function):
            continue
        checked = refuses_unknown(function)
        setattr(cls, name, staticmethod(checked) if function is not member else checked)
    return cls


def _takes_any(function: Callable[..., object]) -> bool:
    """Whether it only passes on what it is given."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds
