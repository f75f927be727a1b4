"""The calls of the normal mode of ``Buffer``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from crossdock.ep import _native, normal_arguments
from crossdock.ep.buffer_base import BufferBase
from crossdock.ep.config import Config
from crossdock.ep.gpu.staging import through_host
from crossdock.ep.normal import Combined, Dispatched, NormalMode
from crossdock.ep.normal_arguments import Bias, X
from crossdock.ep.stream import EventOverlap, expect_event
from crossdock.ep.tensors import CPU, expect_choices, expect_experts, expect_topk_shape
from crossdock.ep.versions import with_known_arguments
from crossdock.proxy.errors import ArgumentError, CapacityError

if TYPE_CHECKING:
    from crossdock.ep.gpu.normal import GpuNormalMode

Layout = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor, EventOverlap]


@with_known_arguments
class NormalCalls(BufferBase):
    """Layout, dispatch and combine for any number of tokens."""

    @cached_property
    def _normal(self) -> NormalMode:
        return NormalMode(self.communicator, self._engine, self._stream)

    @property
    def _mode(self) -> NormalMode | GpuNormalMode:
        """Who does the work: the host, or kernels."""
        by_kernels = None if self._gpu is None else self._gpu.normal
        return self._normal if by_kernels is None else by_kernels

    @through_host
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
            previous_event: waited for before ``topk_idx`` is read.

        Returns:
            ``num_tokens_per_rank`` int32 [ranks]; ``num_tokens_per_rdma_rank`` int32 [nodes], None
            with one node; ``num_tokens_per_expert`` int32 [experts]; ``is_token_in_rank`` bool
            [tokens, ranks]; the event.
        """
        del allocate_on_comm_stream
        self._expect_alive()
        expect_experts(num_experts, self.group_size)
        idx = expect_topk_shape(topk_idx, None, self._device_of_normal)
        previous = expect_event(previous_event)
        early = previous is None or previous.event is None or previous.event.query()
        if early:
            expect_choices(idx, num_experts)
        mode = self._mode
        if not isinstance(mode, NormalMode):
            counted, experts, in_rank, event = mode.layout(idx, num_experts, previous, async_finish)
            return counted, None, experts, in_rank, event
        nodes = self._engine.num_nodes
        per_rank = torch.empty(self.group_size, dtype=torch.int32, device="cpu")
        per_node = torch.empty(nodes, dtype=torch.int32, device="cpu") if nodes > 1 else None
        per_expert = torch.empty(num_experts, dtype=torch.int32, device="cpu")
        in_rank = torch.empty((idx.shape[0], self.group_size), dtype=torch.bool, device="cpu")

        def compute() -> None:
            if not early:  # what the event is about may be what they are
                expect_choices(idx, num_experts)
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
            event = self._stream.submit(compute, previous)
        else:
            self._stream.run(compute, previous)
            event = EventOverlap()
        return per_rank, per_node, per_expert, in_rank, event

    @through_host
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
            x: bf16 or float32 [tokens, hidden], or (fp8 e4m3 [tokens, hidden], scales [tokens, any]
                float32 or int32). A row has a multiple of 16 bytes.
            handle: of an earlier dispatch, whose layout is used again; then the next four and
                ``topk_idx``, ``topk_weights`` are not needed.
            num_tokens_per_rank, num_tokens_per_rdma_rank, is_token_in_rank,
                num_tokens_per_expert: from ``get_dispatch_layout``.
            topk_idx: int64 [tokens, topk].
            topk_weights: float32 [tokens, topk].
            expert_alignment: counts of local experts are rounded up to a multiple of it.
            num_worst_tokens: if positive, results have this many rows; those beyond what came are
                padding with index -1, and no counts are returned. On a GPU nothing waits for it
                then, and what kernels find wrong is raised by the next call.

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
        return self._mode.dispatch(
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
                device=self._device_of_normal,
            ),
            handle is not None,
            previous_event,
            async_finish,
        )

    @through_host
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
            x: bf16 or float32 [received tokens, hidden], in the order of the dispatch.
            handle: of the dispatch.
            topk_weights: float32 [received tokens, topk], summed as well.
            bias: one or two [tokens, hidden] of the dtype of ``x``, added in float32.

        Returns:
            [tokens, hidden] of the dtype of ``x``; float32 [tokens, topk] or None; the event. Nodes
            send their sums in that dtype, too. The order of
            summation is that of ``crossdock.ep.reference.combine``.

        Raises:
            CrossdockError: as ``dispatch``.
        """
        del config, allocate_on_comm_stream
        self._expect_normal()
        return self._mode.combine(
            lambda: normal_arguments.checked_combine(
                x, handle, topk_weights, bias, self._engine, self._device_of_normal
            ),
            previous_event,
            async_finish,
        )

    def internode_dispatch(self, *args: Any, **kwargs: Any) -> Dispatched:
        """``dispatch``: it sends one copy of a token to each node whenever there are several."""
        return self.dispatch(*args, **kwargs)

    def internode_combine(self, *args: Any, **kwargs: Any) -> Combined:
        """``combine``: it sums on each node first whenever there are several."""
        return self.combine(*args, **kwargs)

    @property
    def _device_of_normal(self) -> torch.device:
        """Of the tensors that the mode works on."""
        return CPU if isinstance(self._mode, NormalMode) else self.device

    def _expect_normal(self) -> None:
        self._expect_alive()
        needed = _native.normal_bytes(self.group_size)
        if self.num_nvl_bytes < needed:
            raise CapacityError(
                f"the normal mode needs num_nvl_bytes={needed} for {self.group_size} ranks, but "
                f"the Buffer has {self.num_nvl_bytes}; use Config.get_nvl_buffer_size_hint"
            )
        masked = self._engine.masked()
        if masked:
            raise ArgumentError(
                f"the normal mode leaves no rank out, but rank(s) {masked} are masked; build a new "
                "Buffer with the others"
            )
