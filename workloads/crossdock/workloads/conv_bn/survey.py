"""All BatchNorms of a model: which calls of them are in pairs, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import fx, nn

from crossdock.workloads.conv_bn import layers, pairs, tracing

_UNTRACED = (fx.GraphModule,)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A pair of a convolution and the BN behind it."""

    conv_name: str
    norm_name: str
    conv: nn.Module
    norm: nn.Module
    caller: nn.Module
    """The module whose forward calls both."""
    call: str
    """The name of the BN's call in the graph of that forward."""


@dataclass(frozen=True, kw_only=True)
class Unpaired:
    """A call of a BN that is in no pair."""

    norm_name: str
    norm: nn.Module
    reason: str
    may_be: bool
    """Whether it may turn out at run time that it follows a convolution."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What ``survey`` found."""

    layers: list[Layer] = field(default_factory=list)
    unpaired: list[Unpaired] = field(default_factory=list)
    untraced: dict[str, str] = field(default_factory=dict)
    calls: Counter[nn.Module] = field(default_factory=Counter)
    """How often forwards that were traced call a module."""


def survey(model: nn.Module, *, trace: bool = True) -> Survey:
    """Trace each module that has convolutions and BatchNorms, by itself, if at all."""
    names = {module: name for name, module in model.named_modules()}
    found = Survey()
    for module, name in names.items() if trace else ():
        if not _may_call_pairs(module):
            continue
        try:
            graph = tracing.graph_of(module)
        except tracing.Untraceable as reason:
            found.untraced[name] = str(reason)
            continue
        _look_at(found, module, graph, names)
    known = {layer.norm for layer in found.layers} | {each.norm for each in found.unpaired}
    for norm, name in names.items():
        if layers.is_norm(norm) and norm not in known:
            never = layers.against_norm(norm)
            why = never or "its call was not seen: the module that calls it was not traced"
            found.unpaired.append(
                Unpaired(norm_name=name, norm=norm, reason=why, may_be=never is None)
            )
    return found


def norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All BatchNorms by name."""
    return ((name, each) for name, each in model.named_modules() if layers.is_norm(each))


def _look_at(
    found: Survey, module: nn.Module, graph: fx.Graph, names: dict[nn.Module, str]
) -> None:
    found.calls.update(
        pairs.called(module, node) for node in graph.nodes if node.op == "call_module"
    )
    paired = {pair.norm: pair for pair in pairs.found(module, graph)}
    for node in pairs.norm_calls(module, graph):
        norm = pairs.called(module, node)
        if node in paired:
            conv = pairs.called(module, paired[node].conv)
            found.layers.append(
                Layer(
                    conv_name=names[conv],
                    norm_name=names[norm],
                    conv=conv,
                    norm=norm,
                    caller=module,
                    call=node.name,
                )
            )
        else:
            why, may_be = pairs.reason(module, node)
            found.unpaired.append(
                Unpaired(norm_name=names[norm], norm=norm, reason=why, may_be=may_be)
            )


def _may_call_pairs(module: nn.Module) -> bool:
    """Whether it has both, and a forward of its own; a container of torch has none, but one."""
    of_torch = type(module).__module__.startswith("torch.")
    if (of_torch and type(module) is not nn.Sequential) or isinstance(module, _UNTRACED):
        return False
    inner = list(module.modules())
    return any(map(layers.is_norm, inner)) and any(map(layers.conv_type, inner))
