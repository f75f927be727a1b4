"""A module whose forward was rewritten: pairs are one operation, all else is as it was.

A rewritten forward is that of the moment when it was written. So it is written again where the
module has changed since: a number that the forward reads, a layer that was added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from crossdock.workloads.conv_bn import fused, pairs, report, swap, tracing
from crossdock.workloads.conv_bn.fused import Way

_FORWARD, _WAYS, _ASKED = "_conv_bn_forward", "_conv_bn_ways", "_conv_bn_asked"


class Rewritten(swap.Swapped):
    """A module with a forward that was written for it."""

    _own = (_FORWARD, _WAYS, _ASKED)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            _renew(self)
        written = self.__dict__.get(_FORWARD)
        if written is None:
            return super().forward(*args, **kwargs)
        return written(self, *args, **kwargs)

    def __getstate__(self) -> Any:
        """Without the function, which no pickle can hold: it is written again."""
        state: Any = super().__getstate__()  # type: ignore[no-untyped-call]
        return {name: value for name, value in state.items() if name not in (_FORWARD, _ASKED)}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        try:
            _write(self, self.__dict__.get(_WAYS, {}))
        except tracing.Untraceable:  # its code is another than it was when it was pickled
            swap.undo(self)


def _renew(module: nn.Module) -> None:
    """Write the forward again where it is not the module's any more.

    A part of a ``Sequential`` is made of the same class, and was never written.
    """
    asked = module.__dict__.get(_ASKED)
    if asked is None or asked.holds(module):
        return
    try:
        _write(module, module.__dict__[_WAYS])
    except tracing.Untraceable:
        for name in (_FORWARD, _ASKED):
            del module.__dict__[name]


def rewrite(module: nn.Module, ways: Mapping[str, Way]) -> None:
    """Swap the module's forward.

    Args:
        module: one that ``tracing.graph_of`` has a graph of.
        ways: of each pair, by the name of the call of its BN in the graph.
    """
    _write(module, ways)
    swap.swap(module, Rewritten)


def _write(module: nn.Module, ways: Mapping[str, Way]) -> None:
    kind = type(module)
    module.__class__ = swap.base(kind)
    try:
        graph = tracing.graph_of(module)
        for pair in list(pairs.found(module, graph)):
            if pair.norm.name in ways:
                _join(graph, pair, ways[pair.norm.name])
        forward = type(fx.GraphModule(module, graph)).forward
    finally:
        module.__class__ = kind
    module.__dict__[_WAYS] = dict(ways)
    module.__dict__[_FORWARD] = forward
    module.__dict__[_ASKED] = tracing.Asked(module, (*Rewritten._own, report.ATTRIBUTE))


def _join(graph: fx.Graph, pair: pairs.Found, way: Way) -> None:
    """One call in the place of two, where the convolution was: what it reads may change later."""
    given = pairs.conv_inputs(pair.conv)  # of now: the pair before it may just have been joined
    if given is None:
        return
    with graph.inserting_before(pair.conv):
        parts = [graph.create_node("get_attr", node.target) for node in (pair.conv, pair.norm)]
        arguments = (*parts, given[0], way, given[1])
        joined = graph.call_function(fused.conv_bn, arguments)
    pair.norm.replace_all_uses_with(joined)
    graph.erase_node(pair.norm)
    graph.erase_node(pair.conv)
