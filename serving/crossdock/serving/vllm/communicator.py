"""The communicator that vLLM builds for each group of ranks. Only vLLM imports this."""

from __future__ import annotations

from typing import Any

import torch
from vllm.config import get_current_vllm_config
from vllm.distributed.device_communicators.all2all import AgRsAll2AllManager
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
from vllm.logger import init_logger

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.experts import ExpertParallel, Received, compacted

_log = init_logger("vllm.crossdock")


class CrossdockCpuCommunicator(CpuCommunicator):
    """vLLM's own, but the tokens of experts are moved by crossdock where it can."""

    def __init__(
        self,
        cpu_group: Any,
        device: torch.device | None = None,
        device_group: Any = None,
        unique_name: str = "",
        use_all2all: bool = False,
    ) -> None:
        super().__init__(cpu_group, device, device_group, unique_name, use_all2all)
        if not (self.use_all2all and unique_name.startswith("ep")):
            return
        config = get_current_vllm_config()
        reason = refusal(config, cpu_group.size())
        if reason is not None:
            _log.warning("crossdock: %s; vLLM is left as it is", reason)
            return
        self.all2all_manager = CrossdockAll2AllManager(
            cpu_group, config.model_config.get_num_experts()
        )
        _log.info("crossdock: moves the tokens of %d expert-parallel ranks", cpu_group.size())

    def destroy(self) -> None:
        """Leave the job, also as the last act of a worker whose engine fails."""
        super().destroy()
        if self.all2all_manager is not None:
            self.all2all_manager.destroy()


def refusal(config: Any, ranks: int) -> str | None:
    """Why a configuration of vLLM is not served; None: it is. All ranks find the same."""
    parallel = config.parallel_config
    experts = config.model_config.get_num_experts()
    if not parallel.enable_expert_parallel:
        return "experts are split only with --enable-expert-parallel"
    if ranks != parallel.data_parallel_size:
        return (
            f"{ranks} ranks share the experts, but {parallel.data_parallel_size} have requests of "
            "their own; tensor and context parallel ranks are not served"
        )
    if parallel.enable_eplb or parallel.expert_placement_strategy != "linear":
        return "experts must be placed linearly, without EPLB"
    if experts % ranks:
        return f"{experts} experts cannot be split evenly over {ranks} ranks"
    return None


class CrossdockAll2AllManager(AgRsAll2AllManager):
    """Sends tokens to the ranks of their experts only, and sums what comes back.

    vLLM asks for one dispatch and one combine in each layer, by turns. What it does not ask of
    kernels for CPUs is left to the class below.
    """

    def __init__(self, cpu_group: Any, num_experts: int) -> None:
        super().__init__(cpu_group)
        self._experts = ExpertParallel(
            cpu_group, num_experts, lambda text: _log.error("crossdock: PeerLost: %s", text)
        )
        self._received: Received | None = None

    def dispatch(
        self,
        hidden_states: torch.Tensor,
        topk_weights: torch.Tensor,
        topk_ids: torch.Tensor,
        is_sequence_parallel: bool = False,
        extra_tensors: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The tokens for the experts of this rank; ids become numbers of local experts."""
        if extra_tensors or is_sequence_parallel:
            raise ArgumentError(
                "crossdock moves neither scales, LoRA mappings nor parts of a sequence between the "
                "experts of a CPU; unset CROSSDOCK_VLLM_EP for this model"
            )
        self._received = self._experts.dispatch(hidden_states, topk_ids, topk_weights)
        ids, weights = compacted(self._received)
        return self._received.hidden, weights, ids

    def combine(
        self, hidden_states: torch.Tensor, is_sequence_parallel: bool = False
    ) -> torch.Tensor:
        """What the experts made of this rank's own tokens, summed over the ranks."""
        del is_sequence_parallel  # refused by the dispatch
        received, self._received = self._received, None
        if received is None:
            raise ArgumentError("vLLM has asked for a combine without a dispatch before it")
        return self._experts.combine(received, hidden_states)

    def combine_into_output(
        self, hidden_states: torch.Tensor, output: torch.Tensor, is_sequence_parallel: bool = False
    ) -> torch.Tensor:
        """``combine`` into a tensor that is there."""
        return output.copy_(self.combine(hidden_states, is_sequence_parallel))

    def allocate_combine_input(self, *args: Any, **kwargs: Any) -> torch.Tensor | None:
        """No place is better than another to leave results in."""
        del args, kwargs
        return None

    def destroy(self) -> None:
        """Leave the job."""
        self._experts.destroy()
