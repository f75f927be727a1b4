"""vLLM's CPU platform with another communicator between its ranks. Only vLLM imports this."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class CrossdockCpuPlatform(CpuPlatform):
    """As the CPU platform in everything but how the tokens of experts travel."""

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """Name of the class that vLLM builds for each group of ranks."""
        return "crossdock.serving.vllm.communicator.CrossdockCpuCommunicator"
