"""``Buffer``: expert-parallel dispatch and combine with DeepEP's V1 interface."""

from __future__ import annotations

from typing import ClassVar

import torch

from crossdock.ep import _native
from crossdock.ep.buffer_low_latency import LowLatencyCalls
from crossdock.ep.buffer_normal import NormalCalls
from crossdock.ep.config import RECOMMENDED_SMS, Config
from crossdock.ep.gpu.events import GpuEvent
from crossdock.ep.stream import EventHandle, EventOverlap
from crossdock.ep.tensors import expect_experts
from crossdock.ep.versions import with_known_arguments
from crossdock.proxy.errors import ArgumentError


@with_known_arguments
class Buffer(NormalCalls, LowLatencyCalls):
    """Dispatches tokens to the ranks of their experts and combines what the experts return.

    Building one is collective. ``group`` is a torch process group (its own
    collectives are used only to meet), or any ``crossdock.proxy.Exchange``.

    Args:
        group: the ranks.
        num_nvl_bytes: memory of the normal mode; ``Config.get_nvl_buffer_size_hint`` is exact.
        num_rdma_bytes: memory of the low-latency mode; ``get_low_latency_rdma_size_hint`` is exact.
        low_latency_mode: whether low-latency calls may be made.
        num_qps_per_rank: accepted for compatibility; the transports choose.
        allow_nvlink_for_low_latency_mode: accepted for compatibility.
        allow_mnnvl: accepted for compatibility.
        explicitly_destroy: ``destroy`` will be called; else it is when the object is collected.
        enable_shrink: low-latency calls mask ranks that do not answer, instead of failing.
        comm: an mpi4py communicator, instead of ``group``.
        use_fabric: accepted for compatibility.
        device: cpu, cuda (PyTorch's current GPU, of AMD too), or interpreter (the GPU's kernels in
            Triton's interpreter, on CPU tensors); None for the GPU where there is one, else cpu.
        options: choices about proxies and transports; None takes them from the environment.

    Raises:
        CrossdockError: as ``crossdock.proxy.Communicator``.
        UnknownArgument: an argument is of another version of DeepEP, here or in a call.

    A call that waits hears Ctrl-C within a moment. What an exception of a signal handler has cut
    short, a call or the wait for an event, is half done: the Buffer is aborted. Then the other
    ranks get PeerLost with the number of this one, and its own further calls raise Aborted.
    """

    num_sms: ClassVar[int] = RECOMMENDED_SMS

    @staticmethod
    def is_sm90_compiled() -> bool:
        """Whether kernels for SM90 are in this build: there are no CUDA kernels in it."""
        return False

    @staticmethod
    def set_num_sms(new_num_sms: int) -> None:
        """Set the number of SMs that the normal mode may use; even. CPU devices have none."""
        if new_num_sms <= 0 or new_num_sms % 2:
            raise ArgumentError(f"num_sms is {new_num_sms}, but must be even and positive")
        Buffer.num_sms = new_num_sms

    @staticmethod
    def capture() -> EventOverlap:
        """An event at this point of the current stream."""
        if torch.cuda.is_available():
            return EventOverlap(GpuEvent())
        return EventOverlap(EventHandle())

    @staticmethod
    def get_dispatch_config(num_ranks: int) -> Config:
        """The tuning of dispatch for this number of ranks."""
        _expect_ranks(num_ranks)
        return Config(Buffer.num_sms)

    @staticmethod
    def get_combine_config(num_ranks: int) -> Config:
        """The tuning of combine for this number of ranks."""
        _expect_ranks(num_ranks)
        return Config(Buffer.num_sms)

    @staticmethod
    def get_low_latency_rdma_size_hint(
        num_max_dispatch_tokens_per_rank: int, hidden: int, num_ranks: int, num_experts: int
    ) -> int:
        """Bytes that ``num_rdma_bytes`` must have for the low-latency mode, exactly."""
        _expect_ranks(num_ranks)
        expect_experts(num_experts, num_ranks)
        if num_max_dispatch_tokens_per_rank <= 0 or hidden <= 0:
            raise ArgumentError(
                f"num_max_dispatch_tokens_per_rank is {num_max_dispatch_tokens_per_rank}, "
                f"hidden is {hidden}, but both must be positive"
            )
        return _native.low_latency_bytes(
            num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts
        )


def _expect_ranks(num_ranks: int) -> None:
    if num_ranks <= 0:
        raise ArgumentError(f"num_ranks is {num_ranks}, but must be positive")
