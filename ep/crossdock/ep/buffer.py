"""``Buffer``: expert-parallel dispatch and combine with DeepEP's V1 interface."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from crossdock.ep import _native, low_latency_arguments, normal_arguments
from crossdock.ep.config import RECOMMENDED_SMS, Config
from crossdock.ep.groups import exchange_of
from crossdock.ep.low_latency import Combined as LowLatencyCombined
from crossdock.ep.low_latency import Dispatched as LowLatencyDispatched
from crossdock.ep.low_latency import LowLatencyMode
from crossdock.ep.normal import Combined, Dispatched, NormalMode
from crossdock.ep.normal_arguments import Bias, X
from crossdock.ep.stream import CommStream, EventHandle, EventOverlap
from crossdock.ep.tensors import expect_experts, expect_tensor, expect_topk
from crossdock.proxy import Communicator, Options
from crossdock.proxy._native import PeerState
from crossdock.proxy.errors import ArgumentError, CapacityError, DestroyedError, PeerLost

Layout = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor, EventOverlap]
_LEAST_REGION_BYTES = 4096


class Buffer:
    """Dispatches tokens to the ranks of their experts and combines what the experts return.

    Building one is collective. It is for CPU tensors; ``group`` is a torch process group (its own
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
        options: choices about proxies and transports; None takes them from the environment.

    Raises:
        CrossdockError: as ``crossdock.proxy.Communicator``.
    """

    num_sms: ClassVar[int] = RECOMMENDED_SMS

    def __init__(
        self,
        group: object,
        num_nvl_bytes: int = 0,
        num_rdma_bytes: int = 0,
        low_latency_mode: bool = False,
        num_qps_per_rank: int = 24,
        allow_nvlink_for_low_latency_mode: bool = True,
        allow_mnnvl: bool = False,
        explicitly_destroy: bool = False,
        enable_shrink: bool = False,
        comm: object = None,
        use_fabric: bool = False,
        *,
        options: Options | None = None,
    ) -> None:
        del num_qps_per_rank, allow_nvlink_for_low_latency_mode, allow_mnnvl, use_fabric
        if num_nvl_bytes < 0 or num_rdma_bytes < 0:
            raise ArgumentError(
                f"num_nvl_bytes is {num_nvl_bytes} and num_rdma_bytes is {num_rdma_bytes}, but "
                "neither may be negative"
            )
        self.group = group
        self.num_nvl_bytes = num_nvl_bytes
        self.num_rdma_bytes = num_rdma_bytes
        self.low_latency_mode = low_latency_mode
        self.explicitly_destroy = explicitly_destroy
        self.enable_shrink = enable_shrink
        self._low_latency_at = -(-num_nvl_bytes // 256) * 256
        self._exchange = exchange_of(group, comm)
        self.communicator = Communicator(
            self._exchange,
            options,
            main_bytes=max(_LEAST_REGION_BYTES, self._low_latency_at + num_rdma_bytes),
            num_counters=_native.NUM_COUNTERS,
        )
        self.rank = self.communicator.rank
        self.group_size = self.communicator.size
        self._engine = _native.Engine(
            self.communicator.native.device_view(),
            list(self.communicator.node_of),
            self._low_latency_at,
            num_rdma_bytes,
        )
        self._epoch = 0
        self._stream = CommStream()
        self._normal = NormalMode(self.communicator, self._engine, self._stream)
        self._low_latency = LowLatencyMode(
            self.communicator, self._engine, self._stream, enable_shrink
        )

    # ---- statics ----------------------------------------------------------------------------

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
                f"num_max_dispatch_tokens_per_rank is {num_max_dispatch_tokens_per_rank} and hidden "
                f"is {hidden}, but both must be positive"
            )
        return _native.low_latency_bytes(
            num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts
        )

    # ---- normal mode ------------------------------------------------------------------------

    def get_dispatch_layout(
        self,
        topk_idx: torch.Tensor,
        num_experts: int,
        previous_event: EventOverlap | None = None,
        async_finish: bool = False,
        allocate_on_comm_stream: bool = False,
    ) -> Layout:
        """Where tokens go.

        Args:
            topk_idx: int64 [tokens, topk], -1 for no expert.
            num_experts: of all ranks together.

        Returns:
            ``num_tokens_per_rank`` int32 [ranks]; ``num_tokens_per_rdma_rank`` int32 [nodes], None
            with one node; ``num_tokens_per_expert`` int32 [experts]; ``is_token_in_rank`` bool
            [tokens, ranks]; the event.
        """
        del allocate_on_comm_stream
        self._expect_alive()
        expect_experts(num_experts, self.group_size)
        idx = expect_topk(topk_idx, None, num_experts)
        nodes = self._engine.num_nodes
        per_rank = torch.empty(self.group_size, dtype=torch.int32)
        per_node = torch.empty(nodes, dtype=torch.int32) if nodes > 1 else None
        per_expert = torch.empty(num_experts, dtype=torch.int32)
        in_rank = torch.empty((idx.shape[0], self.group_size), dtype=torch.bool)

        def compute() -> None:
            self._engine.layout(
                idx.data_ptr(),
                idx.shape[0],
                idx.shape[1],
                num_experts,
                per_rank.data_ptr(),
                0 if per_node is None else per_node.data_ptr(),
                per_expert.data_ptr(),
                in_rank.data_ptr(),
            )

        if async_finish:
            event = self._stream.submit(compute, previous_event)
        else:
            self._stream.run(compute, previous_event)
            event = EventOverlap()
        return per_rank, per_node, per_expert, in_rank, event

    def dispatch(
        self,
        x: X,
        handle: object = None,
        num_tokens_per_rank: torch.Tensor | None = None,
        num_tokens_per_rdma_rank: torch.Tensor | None = None,
        is_token_in_rank: torch.Tensor | None = None,
        num_tokens_per_expert: torch.Tensor | None = None,
        topk_idx: torch.Tensor | None = None,
        topk_weights: torch.Tensor | None = None,
        expert_alignment: int = 1,
        num_worst_tokens: int = 0,
        config: Config | None = None,
        previous_event: EventOverlap | None = None,
        async_finish: bool = False,
        allocate_on_comm_stream: bool = False,
    ) -> Dispatched:
        """Send each token once to each rank that has an expert for it.

        Args:
            x: bf16 [tokens, hidden], or (fp8 e4m3 [tokens, hidden], scales [tokens, any] float32
                or int32). A row has a multiple of 16 bytes.
            handle: of an earlier dispatch, whose layout is used again; then the next four and
                ``topk_idx``, ``topk_weights`` are not needed.
            num_tokens_per_rank, num_tokens_per_rdma_rank, is_token_in_rank,
                num_tokens_per_expert: from ``get_dispatch_layout``.
            topk_idx: int64 [tokens, topk].
            topk_weights: float32 [tokens, topk].
            expert_alignment: counts of local experts are rounded up to a multiple of it.
            num_worst_tokens: if positive, results have this many rows; those beyond what came are
                padding with index -1, and no counts are returned.

        Returns:
            ``recv_x`` as ``x``, rows ordered by source rank, then token; ``recv_topk_idx`` with
            local expert numbers, -1 where the expert is elsewhere; ``recv_topk_weights``, 0 there;
            the list of tokens of each local expert; the handle; the event. With ``handle`` given
            all but ``recv_x`` and the event are None.

        Raises:
            ArgumentError, CapacityError: on the rank whose arguments are wrong or whose heap is
                full; PeerArgumentError on the others. The Buffer stays usable.
            MismatchError: ranks disagree, on every rank. The Buffer stays usable.
            PeerLost, DeadlineExceeded: a rank is gone or silent. The Buffer is aborted.
        """
        del num_tokens_per_rdma_rank, config, allocate_on_comm_stream
        self._expect_normal()
        return self._normal.dispatch(
            lambda: normal_arguments.checked_dispatch(
                x,
                handle,
                self.group_size,
                self._engine,
                num_tokens_per_rank=num_tokens_per_rank,
                is_token_in_rank=is_token_in_rank,
                num_tokens_per_expert=num_tokens_per_expert,
                topk_idx=topk_idx,
                topk_weights=topk_weights,
                expert_alignment=expert_alignment,
                num_worst_tokens=num_worst_tokens,
            ),
            handle is not None,
            expert_alignment,
            num_worst_tokens,
            previous_event,
            async_finish,
        )

    def combine(
        self,
        x: torch.Tensor,
        handle: object,
        topk_weights: torch.Tensor | None = None,
        bias: Bias = None,
        config: Config | None = None,
        previous_event: EventOverlap | None = None,
        async_finish: bool = False,
        allocate_on_comm_stream: bool = False,
    ) -> Combined:
        """Bring rows back and sum them, unweighted, in float32.

        Args:
            x: bf16 [received tokens, hidden], in the order of the dispatch.
            handle: of the dispatch.
            topk_weights: float32 [received tokens, topk], summed as well.
            bias: one or two bf16 [tokens, hidden], added in float32.

        Returns:
            bf16 [tokens, hidden]; float32 [tokens, topk] or None; the event. The order of
            summation is that of ``crossdock.ep.reference.combine``.

        Raises:
            CrossdockError: as ``dispatch``.
        """
        del config, allocate_on_comm_stream
        self._expect_normal()
        return self._normal.combine(
            lambda: normal_arguments.checked_combine(x, handle, topk_weights, bias, self._engine),
            previous_event,
            async_finish,
        )

    def internode_dispatch(self, *args: Any, **kwargs: Any) -> Dispatched:
        """``dispatch``: it sends one copy of a token to each node whenever there are several."""
        return self.dispatch(*args, **kwargs)

    def internode_combine(self, *args: Any, **kwargs: Any) -> Combined:
        """``combine``: it sums on each node first whenever there are several."""
        return self.combine(*args, **kwargs)

    # ---- low-latency mode -------------------------------------------------------------------

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
    ) -> LowLatencyDispatched:
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
        )
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
    ) -> LowLatencyCombined:
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

        Returns:
            bf16 [tokens, hidden]; the event; the hook.

        Raises:
            CrossdockError: as ``low_latency_dispatch``.
        """
        self._expect_low_latency(async_finish, return_recv_hook)
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
        )
        return self._low_latency.combine(arguments, async_finish, return_recv_hook)

    def get_next_low_latency_combine_buffer(self, handle: object) -> torch.Tensor:
        """bf16 [local experts, ranks * M, hidden], to be filled for a combine with zero_copy."""
        self._expect_alive()
        return self._low_latency.combine_buffer(low_latency_arguments.checked_handle(handle).round)

    def clean_low_latency_buffer(
        self, num_max_dispatch_tokens_per_rank: int, hidden: int, num_experts: int
    ) -> None:
        """Check that the low-latency mode can run with these sizes.

        DeepEP needs its buffer zeroed between the modes; this one shares nothing between them.
        """
        self._expect_low_latency(False, False)
        expect_experts(num_experts, self.group_size)
        shape = _native.LowLatencyShape(num_max_dispatch_tokens_per_rank, hidden, num_experts, 1, 0)
        self._low_latency.expect_room(shape)

    # ---- masks ------------------------------------------------------------------------------

    def low_latency_update_mask_buffer(self, rank_to_mask: int, mask: bool = False) -> None:
        """Leave a rank out of low-latency calls, or take it in again."""
        self._expect_masking()
        if not 0 <= rank_to_mask < self.group_size:
            raise ArgumentError(f"rank is {rank_to_mask}, but there are {self.group_size} ranks")
        self._stream.run(lambda: self._engine.set_mask(rank_to_mask, mask))

    def low_latency_query_mask_buffer(self, mask_status: torch.Tensor) -> None:
        """Write 1 for each masked rank into int32 [ranks], 0 for the others."""
        self._expect_masking()
        status = expect_tensor("mask_status", mask_status, [torch.int32], [self.group_size])
        status.copy_(torch.tensor(self._stream.run(self._engine.mask), dtype=torch.int32))

    def low_latency_clean_mask_buffer(self) -> None:
        """Take all ranks in again. Collective: a new epoch begins, live results are void.

        Raises:
            PeerLost: a rank is gone; build a new Buffer with the others.
        """
        self._expect_masking()
        self._stream.run(self._begin_epoch)

    def _begin_epoch(self) -> None:
        native = self.communicator.native
        timeout_s = self.communicator.options.timeout_s
        self._exchange.all_gather(b"", timeout_s)
        gone = [r for r in range(self.group_size) if native.peer_state(r)[0] != PeerState.ALIVE]
        if gone:
            raise PeerLost(
                gone[0], f"rank {gone[0]} is gone; build a new Buffer with the ranks that are left"
            )
        self._epoch += 1
        native.begin_epoch(self._epoch)
        self._engine.restart()
        self._low_latency.restart()
        for rank in range(self.group_size):
            self._engine.set_mask(rank, False)
        self._exchange.all_gather(b"", timeout_s)

    # ---- life -------------------------------------------------------------------------------

    def get_comm_stream(self) -> CommStream:
        """The stream on which operations run."""
        self._expect_alive()
        return self._stream

    def get_local_buffer_tensor(
        self,
        dtype: torch.dtype,
        size: torch.Size | None = None,
        offset: int = 0,
        use_rdma_buffer: bool = False,
    ) -> torch.Tensor:
        """The memory of the normal or, with ``use_rdma_buffer``, the low-latency mode as a tensor.

        Args:
            dtype: of the tensor.
            size: of the tensor; None for all that is there, flat.
            offset: bytes to skip.
        """
        self._expect_alive()
        whole = torch.from_numpy(self.communicator.region_array(0))
        start = self._low_latency_at if use_rdma_buffer else 0
        length = self.num_rdma_bytes if use_rdma_buffer else self.num_nvl_bytes
        wanted = length - offset if size is None else size.numel() * dtype.itemsize
        if offset < 0 or offset % dtype.itemsize or wanted < 0 or offset + wanted > length:
            raise CapacityError(
                f"{wanted} bytes of {dtype} from offset {offset} do not fit the {length} bytes"
            )
        count = wanted // dtype.itemsize
        flat = whole[start + offset : start + offset + count * dtype.itemsize].view(dtype)
        return flat if size is None else flat.view(size)

    def destroy(self) -> None:
        """Leave the job and give memory back. Results stay valid. DestroyedError if called twice."""
        self._expect_alive()
        self._stream.close()
        self.communicator.destroy()

    def _expect_alive(self) -> None:
        if self.communicator.destroyed:
            raise DestroyedError(f"rank {self.rank}: the Buffer is destroyed; build a new one")

    def _expect_normal(self) -> None:
        self._expect_alive()
        needed = _native.normal_bytes(self.group_size)
        if self.num_nvl_bytes < needed:
            raise CapacityError(
                f"the normal mode needs num_nvl_bytes={needed} for {self.group_size} ranks, but the "
                f"Buffer has {self.num_nvl_bytes}; use Config.get_nvl_buffer_size_hint"
            )

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


def _expect_ranks(num_ranks: int) -> None:
    if num_ranks <= 0:
        raise ArgumentError(f"num_ranks is {num_ranks}, but must be positive")
