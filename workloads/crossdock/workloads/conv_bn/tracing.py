"""The forward of one module as a graph, its children as they are, or why it cannot be had.

``torch.fx`` runs a forward once, on symbols, and writes down what it does. What depends on anything
else than its inputs is then fixed for good, and much that a forward does leaves no trace. So a
forward is believed only where nothing of that kind was seen.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import inspect
import operator
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import fx, nn

_OWN_FRAMES = (
    "torch.fx", "torch.overrides", "torch.utils._pytree", "torch.nn.parameter",
    "torch.nn.modules.module",
)  # fmt: skip
_CHECKPOINT = "torch.utils.checkpoint"
_CONTAINERS = (list, dict, set)
_IN_PLACE = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and",
    "xor", "or",
)  # fmt: skip
_ALONE = threading.RLock()
"""A trace changes what all threads see: the flags of modules, and ``isinstance``."""


class Untraceable(Exception):  # never leaves this package
    """Why a forward is not rewritten."""


def graph_of(module: nn.Module) -> fx.Graph:
    """The graph of the module's forward; children are calls.

    Raises:
        Untraceable: it has none that says all that the forward does.
    """
    _expect_plain(module)
    flags = {each: each.training for each in module.modules()}
    graphs = []
    with _ALONE:
        try:
            for asked in (True, False):  # as in training with gradients, and as without both
                for each in flags:
                    each.training = asked
                with torch.set_grad_enabled(asked), _nothing_left_behind(module):
                    graphs.append(_traced(module))
        finally:
            for each, flag in flags.items():
                each.training = flag
    sources = {graph.python_code("self").src for graph in graphs}
    if len(sources) > 1:
        raise Untraceable(
            "its forward asks whether it is training or takes gradients, or changes from call to"
            " call"
        )
    return graphs[0]


def _expect_plain(module: nn.Module) -> None:
    if "forward" in module.__dict__:
        raise Untraceable("its forward was replaced")
    for name, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Untraceable(f"its forward takes any number of arguments (*{name})")
        if parameter.default is not parameter.empty:
            raise Untraceable(f"its forward has an optional argument ({name})")


def _traced(module: nn.Module) -> fx.Graph:
    try:
        with _no_class_told():
            return _Tracer().trace(module)
    except Untraceable:
        raise
    except Exception as error:  # user code can raise anything when run on symbols
        first = str(error).strip().splitlines()[:1]
        raise Untraceable(": ".join([type(error).__name__, *first])) from error


class _Symbol(fx.Proxy):
    """A value to come."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("tracer", "node"):
            raise Untraceable(f"its forward sets an attribute of a value ({name})")
        super().__setattr__(name, value)


def _in_place(name: str) -> Any:
    """What `x += y` does; ``torch.fx`` alone takes it for `x = x + y`, and nothing is written."""
    target = getattr(operator, name)

    def write(self: _Symbol, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", target, (self, other), {})

    return write


for _name in _IN_PLACE:
    setattr(_Symbol, f"__i{_name}__", _in_place(f"i{_name}"))


@contextlib.contextmanager
def _no_class_told() -> Iterator[None]:
    """Code that asks of which class a symbol is gets no answer, which would be wrong."""
    asked = builtins.isinstance

    def guarded(one: Any, kinds: Any) -> bool:
        if type(one) is _Symbol:
            asker = sys._getframe(1).f_globals.get("__name__", "")
            if not asker.startswith(_OWN_FRAMES):
                raise Untraceable("its forward asks of which class a value is")
        return asked(one, kinds)

    builtins.isinstance = guarded
    try:
        yield
    finally:
        builtins.isinstance = asked


class _Tracer(fx.Tracer):
    """Calls of children are leaves; what would be lost ends the trace."""

    proxy_buffer_attributes = True

    def __init__(self) -> None:
        super().__init__()
        self._surroundings = _surroundings()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Symbol(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if _surroundings() != self._surroundings:
            raise Untraceable("its forward sets the gradient mode or autocast for a part of it")
        if _within(_CHECKPOINT):
            raise Untraceable("its forward recomputes a part of it (checkpoint)")
        return super().create_node(*args, **kwargs)


def _surroundings() -> tuple[Any, ...]:
    autocasts = tuple(
        (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
    )
    return (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocasts)


def _within(name: str) -> bool:
    """Whether a function of that module is being run."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_globals.get("__name__") == name:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _nothing_left_behind(module: nn.Module) -> Iterator[None]:
    """Put attributes and dice back as they were; Untraceable where the block has touched them."""
    dice = _dice()
    before = [(each, dict(each.__dict__)) for each in module.modules()]
    contents = [
        (value, copy.copy(value))
        for _, own in before
        for value in own.values()
        if isinstance(value, _CONTAINERS)
    ]
    try:
        yield
    finally:
        rolled = not _same_dice(dice, _dice())
        _put_dice(dice)
        written = [
            name
            for each, own in before
            for name in {*own, *each.__dict__}
            if own.get(name, _ABSENT) is not each.__dict__.get(name, _ABSENT)
        ]
        for each, own in before:
            each.__dict__.clear()
            each.__dict__.update(own)
        grown = [value for value, was in contents if not _same_contents(value, was)]
        for value, was in contents:
            _refill(value, was)
    if rolled:
        raise Untraceable("its forward throws dice that no input decides")
    if written or grown:
        named = f" ({', '.join(sorted(written))})" if written else ""
        raise Untraceable(f"its forward changes the module, or makes constants{named}")


_ABSENT = object()


class Asked:
    """What a forward may have asked of its module when it was traced.

    That is its own attributes, the contents of its lists, dictionaries and sets, and which children
    it has, of which class; of other objects nothing is known.
    """

    _LEFT_OUT = ("training", "_modules", "_parameters", "_buffers")

    def __init__(self, module: nn.Module, own: tuple[str, ...]) -> None:
        """`own`: attributes that have nothing to do with it."""
        self._left_out = {*self._LEFT_OUT, *own}
        self._values = self._of(module)
        self._contents = [
            (value, copy.copy(value))
            for name, value in self._values.items()
            if isinstance(value, _CONTAINERS) and not name.startswith("_")  # hooks are torch's
        ]
        self._children = _children(module)
        self._absent = _absent(module)

    def holds(self, module: nn.Module) -> bool:
        """Whether all of it is still so."""
        own = module.__dict__
        return (
            all(own.get(name, _ABSENT) is value for name, value in self._values.items())
            and not any(
                name not in self._values and name[0] != "_" and name not in self._left_out
                for name in own
            )
            and all(_same_contents(value, was) for value, was in self._contents)
            and _children(module) == self._children
            and _absent(module) == self._absent
        )

    def _of(self, module: nn.Module) -> dict[str, Any]:
        return {k: value for k, value in module.__dict__.items() if k not in self._left_out}


def _children(module: nn.Module) -> list[tuple[str, type]]:
    return [(name, type(child)) for name, child in module._modules.items()]


def _absent(module: nn.Module) -> list[str]:
    """Parameters and buffers that could be there, and are not."""
    both = (module._parameters, module._buffers)
    return [name for own in both for name, value in own.items() if value is None]


def _same_contents(value: Any, was: Any) -> bool:
    if isinstance(value, dict):
        return list(value) == list(was) and all(value[key] is was[key] for key in was)
    if isinstance(value, set):
        return bool(value == was)
    return len(value) == len(was) and all(a is b for a, b in zip(value, was, strict=True))


def _refill(value: Any, was: Any) -> None:
    if _same_contents(value, was):
        return
    value.clear()
    if isinstance(value, list):
        value.extend(was)
    else:
        value.update(was)


def _dice() -> tuple[Any, ...]:
    return (random.getstate(), np.random.get_state(), torch.get_rng_state())


def _same_dice(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    numpy_same = all(np.array_equal(a, b) for a, b in zip(one[1], other[1], strict=True))
    return one[0] == other[0] and numpy_same and torch.equal(one[2], other[2])


def _put_dice(dice: tuple[Any, ...]) -> None:
    random.setstate(dice[0])
    np.random.set_state(dice[1])
    torch.set_rng_state(dice[2])
