"""SGLang's dispatcher with crossdock below it. Only the plug-in's hook imports this."""

from __future__ import annotations

import logging
from typing import Any

import torch
from sglang.srt.layers import deep_gemm_wrapper
from sglang.srt.layers.moe.token_dispatcher.base import BaseDispatcher
from sglang.srt.layers.moe.token_dispatcher.deepep import DeepEPNormalDispatchOutput

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.experts import ExpertParallel, Received

_log = logging.getLogger("sglang.srt.crossdock")
_BLOCK_ROWS = 128
"""Of DeepGEMM. SGLang lays experts out by the counts it is told and writes whole blocks of indices:
with any other count those of the next expert, or what lies behind the last."""
_shared: dict[tuple[int, int], tuple[object, ExpertParallel]] = {}


class CrossdockDispatcher(BaseDispatcher):
    """Dispatches unquantized tokens in the format of DeepEP's normal mode, and combines them.

    The layers of a model take turns, so all of them may share one ``ExpertParallel``.
    """

    def __init__(self, experts: ExpertParallel) -> None:
        super().__init__()
        self._experts = experts
        self._received: Received | None = None

    def dispatch(self, hidden_states: torch.Tensor, topk_output: Any) -> Any:
        """The tokens for the experts of this rank, -1 where a choice is on another."""
        received = self._experts.dispatch(
            hidden_states, topk_output.topk_ids, topk_output.topk_weights
        )
        self._received = received
        local = self._experts.num_experts // self._experts.buffer.group_size
        ids = received.ids.to(torch.int64)
        block = _BLOCK_ROWS if deep_gemm_wrapper.ENABLE_JIT_DEEPGEMM else 1
        exact = torch.bincount(ids[ids >= 0], minlength=local).tolist()
        counts = [-(-count // block) * block for count in exact]
        return DeepEPNormalDispatchOutput(received.hidden, None, ids, received.weights, counts)

    def combine(self, combine_input: Any) -> torch.Tensor:
        """What the experts made of this rank's own tokens, weighted and summed."""
        received, self._received = self._received, None
        if received is None:
            raise ArgumentError("SGLang has asked for a combine without a dispatch before it")
        return self._experts.combine(received, combine_input.hidden_states)


def dispatcher_of(group: object, num_experts: int) -> CrossdockDispatcher:
    """The dispatcher of a layer. The first one of a group is built on all ranks together."""
    key = (id(group), num_experts)
    if key not in _shared:
        experts = ExpertParallel(
            group, num_experts, lambda text: _log.error("crossdock: PeerLost: %s", text)
        )
        _shared[key] = (group, experts)  # the group too: its id must not be used again
    return CrossdockDispatcher(_shared[key][1])
