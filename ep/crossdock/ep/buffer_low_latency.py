"""The calls of the low-latency mode of ``Buffer``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from crossdock.ep import _native, low_latency_arguments
from crossdock.ep.buffer_base import BufferBase
from crossdock.ep.low_latency import Combined, Dispatched, LowLatencyMode
from crossdock.ep.outcomes import cut_short
from crossdock.ep.tensors import expect_experts, expect_tensor
from crossdock.ep.versions import with_known_arguments
from crossdock.proxy.errors import ArgumentError

if TYPE_CHECKING:
    from crossdock.ep.gpu.low_latency import GpuLowLatencyMode


@with_known_arguments
class LowLatencyCalls(BufferBase):
    """Dispatch and combine through fixed places, and masks of ranks that do not answer."""

    @cached_property
    def _low_latency(self) -> LowLatencyMode | GpuLowLatencyMode:
        if self._gpu is not None:
            return self._gpu.low_latency
        return LowLatencyMode(self.communicator, self._engine, self._stream, self.enable_shrink)

    def low_latency_dispatch(
        self,
        x: torch.Tensor,
        topk_idx: torch.Tensor,
        num_max_dispatch_tokens_per_rank: int,
        num_experts: int,
        cumulative_local_expert_recv_stats: torch.Tensor | None = None,
        dispatch_wait_recv_cost_stats: torch.Tensor | None = None,
        use_fp8: bool = True,
        round_scale: bool = False,
        use_ue8m0: bool = False,
        async_finish: bool = False,
        return_recv_hook: bool = False,
    ) -> Dispatched:
        """Send tokens to their experts without an exchange of sizes.

        Args:
            x: bf16 [tokens, hidden].
            topk_idx: int64 [tokens, topk], -1 for no expert.
            num_max_dispatch_tokens_per_rank: M, the same on every rank.
            num_experts: the same on every rank.
            cumulative_local_expert_recv_stats: int32 [local experts], counts are added to it.
            dispatch_wait_recv_cost_stats: int64 [ranks], microseconds waited for each rank are
                added to it.
            use_fp8: cast to fp8 e4m3 with a scale for each 128 channels.
            round_scale: scales are powers of two.
            use_ue8m0: scales are exponents, four in an int32.
            return_recv_hook: return after sending; the hook receives.

        Returns:
            ``recv_x`` [local experts, ranks * M, hidden], bf16, or (fp8, scales [local experts,
            ranks * M, hidden / 128 float32 or hidden / 512 int32], last two dimensions
            column-major); ``recv_count`` int32 [local experts]; the handle; the event; the hook.
            Rows of an expert beyond its count are not defined.

        Raises:
            ArgumentError, CapacityError: on the rank that called wrongly, which has done nothing;
                also for a third live result.
            MismatchError: ranks disagree, on every rank. The Buffer stays usable.
            PeerLost, DeadlineExceeded: a rank is gone or silent, and ``enable_shrink`` is off. The
                Buffer is aborted.
            CutOff: other ranks have masked this one, also when ``enable_shrink`` is on, and go on
                without it. The Buffer is aborted.
        """
        self._expect_low_latency(async_finish, return_recv_hook)
        arguments = low_latency_arguments.checked_dispatch(
            x,
            topk_idx,
            num_max_dispatch_tokens_per_rank,
            num_experts,
            self.group_size,
            statistics=cumulative_local_expert_recv_stats,
            wait_us=dispatch_wait_recv_cost_stats,
            use_fp8=use_fp8,
            round_scale=round_scale,
            use_ue8m0=use_ue8m0,
            device=self.device,
        )
        with cut_short(self.communicator.abort), self._stream.turn():
            return self._low_latency.dispatch(arguments, async_finish, return_recv_hook)

    def low_latency_combine(
        self,
        x: torch.Tensor,
        topk_idx: torch.Tensor,
        topk_weights: torch.Tensor,
        handle: object,
        use_logfmt: bool = False,
        zero_copy: bool = False,
        async_finish: bool = False,
        return_recv_hook: bool = False,
        out: torch.Tensor | None = None,
        combine_wait_recv_cost_stats: torch.Tensor | None = None,
        overlap: bool = False,
        packed_recv_count: object = None,
        comp_signal: object = None,
        block_m: object = None,
        threshold: object = None,
        num_sms: object = None,
        src_signals: object = None,
        src_signal_expect_value: object = None,
    ) -> Combined:
        """Bring the experts' rows back and sum them with the weights of their tokens.

        Args:
            x: bf16 [local experts, ranks * M, hidden], rows as the dispatch gave them.
            topk_idx: as dispatched.
            topk_weights: float32 [tokens, topk].
            handle: of the dispatch.
            use_logfmt: send rows in a 10-bit logarithmic format.
            zero_copy: x is ``get_next_low_latency_combine_buffer(handle)``.
            out: bf16 [tokens, hidden], to hold the result.
            combine_wait_recv_cost_stats: int64 [ranks], microseconds, added to.
            overlap: SGLang's overlap of the experts' GEMM with sending, which a CPU device does
                not have: only False is accepted, and then the arguments after it are ignored.

        Returns:
            bf16 [tokens, hidden]; the event; the hook.

        Raises:
            CrossdockError: as ``low_latency_dispatch``.
        """
        self._expect_low_latency(async_finish, return_recv_hook)
        del packed_recv_count, comp_signal, block_m, threshold, num_sms
        del src_signals, src_signal_expect_value
        if overlap:
            raise ArgumentError("overlap is True, but a CPU device cannot overlap; pass False")
        arguments = low_latency_arguments.checked_combine(
            x,
            topk_idx,
            topk_weights,
            handle,
            self.communicator,
            use_logfmt=use_logfmt,
            zero_copy=zero_copy,
            out=out,
            wait_us=combine_wait_recv_cost_stats,
            device=self.device,
        )
        with cut_short(self.communicator.abort), self._stream.turn():
            return self._low_latency.combine(arguments, async_finish, return_recv_hook)

    def get_next_low_latency_combine_buffer(self, handle: object) -> torch.Tensor:
        """bf16 [local experts, ranks * M, hidden], to be filled for a combine with zero_copy."""
        self._expect_alive()
        known = low_latency_arguments.checked_handle(handle, self.communicator)
        return self._low_latency.combine_buffer(known.round)

    def clean_low_latency_buffer(
        self, num_max_dispatch_tokens_per_rank: int, hidden: int, num_experts: int
    ) -> None:
        """Make ready for low-latency calls with these sizes. Collective.

        Needed before calls with more tokens, or a larger hidden, than before; the modes share
        nothing, so that a switch of the mode alone does not need it.

        Raises:
            ArgumentError: a low-latency result is live on this rank.
            CapacityError: the Buffer is too small for these sizes.
        """
        self._expect_low_latency(False, False)
        expect_experts(num_experts, self.group_size)
        shape = _native.LowLatencyShape(num_max_dispatch_tokens_per_rank, hidden, num_experts, 1, 0)
        with self._stream.turn():
            self._low_latency.expect_room(shape)
            self._expect_no_mask()
            self._stream.run(self._low_latency.clean)

    # ---- masks ------------------------------------------------------------------------------

    def low_latency_update_mask_buffer(self, rank_to_mask: int, mask: bool = False) -> None:
        """Leave a rank out of low-latency calls, for good: this rank hangs up on it.

        Raises:
            ArgumentError: ``mask`` is False and the rank is masked. What it has missed, and what it
                may still send, cannot be told from the present: build a new Buffer with it.
        """
        self._expect_masking()
        if not 0 <= rank_to_mask < self.group_size:
            raise ArgumentError(f"rank is {rank_to_mask}, but there are {self.group_size} ranks")
        if mask and rank_to_mask == self.rank:
            raise ArgumentError(f"rank {rank_to_mask} cannot mask itself")
        if mask:
            mask_it = self._engine.mask if self._gpu is None else self._gpu.mask
            self._stream.run(lambda: mask_it(rank_to_mask))
        elif rank_to_mask in self._masked():
            raise ArgumentError(
                f"rank {rank_to_mask} is masked for good; build a new Buffer to take it in again"
            )

    def low_latency_query_mask_buffer(self, mask_status: torch.Tensor) -> None:
        """Write 1 for each masked rank into int32 [ranks], 0 for the others."""
        self._expect_masking()
        status = expect_tensor(
            "mask_status", mask_status, [torch.int32], [self.group_size], device=self.device
        )
        status.zero_()
        status[self._masked()] = 1

    def low_latency_clean_mask_buffer(self) -> None:
        """Check that no rank is masked.

        Raises:
            ArgumentError: some are, and for good; build a new Buffer to take them in again.
        """
        self._expect_masking()
        self._expect_no_mask()

    def _expect_no_mask(self) -> None:
        masked = self._masked()
        if masked:
            raise ArgumentError(
                f"rank(s) {masked} are masked for good; build a new Buffer to take them in again"
            )

    def _masked(self) -> list[int]:
        return self._stream.run(self._engine.masked)

    def _expect_low_latency(self, async_finish: bool, return_recv_hook: bool) -> None:
        self._expect_alive()
        if not self.low_latency_mode:
            raise ArgumentError("the Buffer was built without low_latency_mode=True")
        if async_finish and return_recv_hook:
            raise ArgumentError("async_finish and return_recv_hook exclude each other")

    def _expect_masking(self) -> None:
        self._expect_low_latency(False, False)
        if not self.enable_shrink:
            raise ArgumentError("the Buffer was built without enable_shrink=True")
