"""Pairs in a graph: a convolution whose output goes to one BN, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from crossdock.workloads.conv_bn import layers


@dataclass(frozen=True)
class Found:
    """A pair of calls."""

    conv: fx.Node
    norm: fx.Node


def found(module: nn.Module, graph: fx.Graph) -> Iterator[Found]:
    """All pairs of the graph that can be one, in the order of their calls."""
    for node in graph.nodes:
        if not _calls_norm(module, node):
            continue
        before = _single_input(node)
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv, norm = called(module, before), called(module, node)
        if conv_inputs(before) is None or list(before.users) != [node]:
            continue
        if layers.against_pair(conv, norm) is None and not _calls_between(module, before, node):
            yield Found(before, node)


def reason(module: nn.Module, node: fx.Node) -> tuple[str, bool]:
    """Why a call of a BN is in no pair, and whether it can still turn out to be at run time."""
    norm = called(module, node)
    never = layers.against_norm(norm)
    before = _single_input(node)
    if never:
        return never, False
    if not isinstance(before, fx.Node) or before.op == "placeholder":
        return "its input comes from outside of the module that calls it", True
    if before.op != "call_module":
        return f"its input is what {getattr(before.target, '__name__', before.target)} gives", False
    conv = called(module, before)
    if layers.conv_type(conv) is None:
        inner = any(layers.conv_type(each) for each in conv.modules())
        return f"its input is what {before.target} gives, a {type(conv).__name__}", inner
    never = layers.against_pair(conv, norm)
    if never:
        return never, False
    if len(before.users) > 1:
        return f"the output of {before.target} is used elsewhere, too", True
    return "it is called between convolution and BN, or these with unusual arguments", True


def norm_calls(module: nn.Module, graph: fx.Graph) -> Iterator[fx.Node]:
    """The calls of BatchNorms."""
    return (node for node in graph.nodes if _calls_norm(module, node))


def _calls_norm(module: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and layers.is_norm(called(module, node))


def called(module: nn.Module, node: fx.Node) -> nn.Module:
    """The child that a node calls."""
    return module.get_submodule(str(node.target))


def _single_input(node: fx.Node) -> Any:
    """What a module is called with that takes one thing, by place or by name."""
    given = [*node.args, *node.kwargs.values()]
    named = set(node.kwargs) <= {"input"}
    return given[0] if len(given) == 1 and named else None


def conv_inputs(node: fx.Node) -> tuple[Any, Any] | None:
    """What a convolution is called with: its input, and the output's size where that is asked for.

    None where it is called in no way that a convolution can be.
    """
    given = dict(zip(("input", "output_size"), node.args, strict=False)) | node.kwargs
    if len(node.args) > 2 or not {"input"} <= set(given) <= {"input", "output_size"}:
        return None
    return given["input"], given.get("output_size")


def _calls_between(module: nn.Module, first: fx.Node, last: fx.Node) -> bool:
    """Whether the BN is called between: what it learns of batches would come in another order."""
    norm = called(module, last)
    node = first.next
    while node is not last:
        if node.op == "call_module" and any(
            each is norm for each in called(module, node).modules()
        ):
            return True
        node = node.next
    return False
