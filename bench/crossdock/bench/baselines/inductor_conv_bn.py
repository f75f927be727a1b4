"""torch's own pass that joins ConvBN blocks in eval mode, without the compiler behind it.

The pass works on the graph that torch.compile takes of a model, before inductor compiles it; here
that graph is then run as it is, so that only the pass makes a difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch._dynamo.utils import counters
from torch._inductor import config

_COUNTER = "efficient_conv_bn_eval"


def joined(model: nn.Module) -> Callable[..., Any]:
    """The model with the pass applied, at its first call."""
    return torch.compile(model, backend=_run_as_it_is)


def pairs_joined() -> int:
    """By the pass, since the last reset of the compiler's counters."""
    return int(counters["inductor"][_COUNTER])


def reset() -> None:
    """Forget all graphs and counts."""
    torch._dynamo.reset()
    counters.clear()


def _run_as_it_is(graph: fx.GraphModule, _: Sequence[Any]) -> Callable[..., Any]:
    from torch._inductor.fx_passes import efficient_conv_bn_eval, pre_grad  # noqa: F401 - registers

    own = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    with config.patch(efficient_conv_bn_eval_fx_passes=True):
        pre_grad.efficient_conv_bn_eval_pass.apply(own.graph)
    return fx.Interpreter(own).run  # the pass leaves what cannot be written as Python again
