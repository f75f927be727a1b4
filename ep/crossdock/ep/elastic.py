"""``ElasticBuffer``: expert-parallel dispatch and combine with DeepEP's V2 interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import torch

from crossdock.ep import _native
from crossdock.ep.buffer_base import BufferBase
from crossdock.ep.config import RECOMMENDED_SMS
from crossdock.ep.elastic_arguments import Request
from crossdock.ep.elastic_combine import SingleReduction, checked_folded
from crossdock.ep.elastic_dispatch import ElasticDispatch
from crossdock.ep.elastic_handle import EPHandle
from crossdock.ep.groups import exchange_of
from crossdock.ep.normal import Combined, NormalMode
from crossdock.ep.normal_arguments import Bias, X
from crossdock.ep.stream import EventHandle, EventOverlap, expect_event
from crossdock.ep.tensors import expect_experts, expect_whole
from crossdock.ep.versions import with_known_arguments
from crossdock.proxy import Exchange, Options
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import ArgumentError, CapacityError, MismatchError

_ALIGNMENT_BYTES = 2 << 20
_ALLOCATED_QPS = 17

T = TypeVar("T")
Event = EventHandle | EventOverlap | None
Dispatched = tuple[X, torch.Tensor | None, torch.Tensor | None, EPHandle, EventOverlap]


@with_known_arguments
class ElasticBuffer(BufferBase):
    """Dispatch that also lays rows out by expert, and the combine for it.

    Building one is collective. It runs on the normal mode of ``Buffer``: any number of tokens, any
    network, results that are the same in every run. DeepEP's Engram, pipeline and all-gather calls,
    which have nothing to do with experts, are not part of it.

    Args:
        group: the ranks; what ``Buffer`` accepts.
        num_bytes: memory for control messages; None for ``get_buffer_size_hint``. A multiple of
            2 MiB. Rows go straight into results, which are allocated as they come.
        num_cpu_bytes: must be 0: there is no Engram.
        num_max_tokens_per_rank: M, unless a dispatch says another; the same on every rank.
        hidden, num_topk, use_fp8_dispatch: accepted for compatibility; calls decide.
        deterministic: accepted for compatibility; results always are.
        allow_hybrid_mode: accepted for compatibility; the proxies forward inside nodes anyway.
        allow_multiple_reduction: whether combine may round sums on the way. The same on every rank.
        prefer_overlap_with_compute, sl_idx, num_allocated_qps: accepted for compatibility.
        num_cpu_timeout_secs, num_gpu_timeout_secs: accepted for compatibility; ``options`` decide.
        explicitly_destroy: ``destroy`` will be called; else it is when the object is collected.
        options: choices about proxies and transports; None takes them from the environment.

    Raises:
        CrossdockError: as ``crossdock.proxy.Communicator``.
        MismatchError: ranks disagree, on every rank.
        UnknownArgument: an argument is of another version of DeepEP, here or in a call.
    """

    def __init__(
        self,
        group: object,
        num_bytes: int | None = None,
        num_cpu_bytes: int = 0,
        num_max_tokens_per_rank: int = 0,
        hidden: int = 0,
        num_topk: int = 0,
        use_fp8_dispatch: bool = False,
        deterministic: bool = False,
        allow_hybrid_mode: bool = True,
        allow_multiple_reduction: bool = True,
        prefer_overlap_with_compute: bool = True,
        sl_idx: int = 3,
        num_allocated_qps: int = 0,
        num_cpu_timeout_secs: int = 300,
        num_gpu_timeout_secs: int = 100,
        explicitly_destroy: bool = False,
        *,
        options: Options | None = None,
    ) -> None:
        del hidden, num_topk, use_fp8_dispatch, sl_idx, num_cpu_timeout_secs, num_gpu_timeout_secs
        exchange = exchange_of(group)
        options = Options.from_environment() if options is None else options
        given = (num_bytes, num_cpu_bytes, num_max_tokens_per_rank, allow_multiple_reduction)
        _agree(exchange, options.timeout_s, lambda: _checked(exchange.size, *given))
        self.num_bytes = _hint(exchange.size) if num_bytes is None else num_bytes
        super().__init__(
            exchange,
            self.num_bytes,
            explicitly_destroy=explicitly_destroy,
            device="cpu",  # also where there is a GPU: its layouts are for tensors of the host
            options=options,
        )
        self.group = group
        self.num_max_tokens_per_rank = num_max_tokens_per_rank
        self.deterministic = deterministic
        self.allow_hybrid_mode = allow_hybrid_mode
        self.allow_multiple_reduction = allow_multiple_reduction
        self.prefer_overlap_with_compute = prefer_overlap_with_compute
        self.num_allocated_qps = num_allocated_qps or _ALLOCATED_QPS
        self.rank_idx = self.rank
        self.num_ranks = self.group_size
        self.num_scaleout_ranks, self.num_scaleup_ranks = self.get_logical_domain_size()
        self.scaleout_rank_idx, self.scaleup_rank_idx = divmod(self.rank, self.num_scaleup_ranks)
        self.num_rdma_ranks, self.num_nvlink_ranks = self.get_physical_domain_size()

    @cached_property
    def _normal(self) -> NormalMode:
        return NormalMode(self.communicator, self._engine, self._stream)

    # ---- sizes ------------------------------------------------------------------------------

    @staticmethod
    def get_buffer_size_hint(
        group: object,
        num_max_tokens_per_rank: int,
        hidden: int,
        num_topk: int = 0,
        use_fp8_dispatch: bool = False,
        allow_hybrid_mode: bool = True,
        allow_multiple_reduction: bool = True,
    ) -> int:
        """Bytes that ``num_bytes`` needs for the ranks of ``group``, a multiple of 2 MiB.

        They hold control messages only, so that nothing but the number of ranks matters. ``group``
        is a torch process group or a ``crossdock.proxy.Exchange``.
        """
        del num_max_tokens_per_rank, hidden, num_topk, use_fp8_dispatch
        del allow_hybrid_mode, allow_multiple_reduction
        size = getattr(group, "size", None)
        if size is None:
            raise ArgumentError(f"group is {group!r}; pass a torch process group or an Exchange")
        return _hint(int(size() if callable(size) else size))

    def get_theoretical_num_sms(
        self,
        num_experts: int,
        num_topk: int,
        num_scaleout_topk: int = 0,
        rdma_gbs: float = 0,
        nvlink_gbs: float = 0,
        sm_read_gbs: float = 200,
        sm_write_gbs: float = 50,
    ) -> int:
        """How many SMs a dispatch should use: the number that ``Buffer`` takes as well. A CPU
        device has none, so that no bandwidth enters.
        """
        del num_scaleout_topk, rdma_gbs, nvlink_gbs, sm_read_gbs, sm_write_gbs
        expect_experts(num_experts, self.num_ranks)
        if not 1 <= num_topk <= num_experts:
            raise ArgumentError(f"num_topk is {num_topk}, but there are {num_experts} experts")
        return RECOMMENDED_SMS

    def get_theoretical_num_qps(self, num_sms: int) -> int:
        """How many QPs DeepEP should use, at most ``num_allocated_qps``. Our transports choose."""
        return min(num_sms, self.num_allocated_qps)

    def get_physical_domain_size(self) -> tuple[int, int]:
        """How many nodes there are, and the most ranks on one of them."""
        ranks_of = Counter(self.communicator.node_of)
        return len(ranks_of), max(ranks_of.values())

    def get_logical_domain_size(self) -> tuple[int, int]:
        """(1, ranks): every rank is reached in one step, whatever the proxies do below."""
        return 1, self.group_size

    # ---- calls ------------------------------------------------------------------------------

    @staticmethod
    def capture() -> EventHandle:
        """An event at this point of the current stream."""
        return EventHandle()

    def barrier(
        self, use_comm_stream: bool = True, with_cpu_sync: bool = False, sequential: bool = True
    ) -> None:
        """Wait for all ranks, after all that was asked for before. The arguments change nothing
        for a CPU device.
        """
        del use_comm_stream, with_cpu_sync, sequential
        self._expect_alive()
        self._stream.run(self.communicator.barrier)

    def dispatch(
        self,
        x: X,
        topk_idx: torch.Tensor | None = None,
        topk_weights: torch.Tensor | None = None,
        cumulative_local_expert_recv_stats: torch.Tensor | None = None,
        num_experts: int | None = None,
        num_max_tokens_per_rank: int | None = None,
        expert_alignment: int | None = None,
        num_sms: int = 0,
        num_qps: int = 0,
        previous_event: Event = None,
        previous_event_before_epilogue: Event = None,
        async_with_compute_stream: bool = False,
        allocate_on_comm_stream: bool = False,
        handle: EPHandle | None = None,
        do_handle_copy: bool = True,
        do_cpu_sync: bool | None = None,
        do_expand: bool = False,
        do_zero_padding: bool = False,
        use_tma_aligned_col_major_sf: bool = False,
    ) -> Dispatched:
        """Send each token once to each rank that has an expert for it.

        Args:
            x: bf16 [tokens, hidden], or (fp8 e4m3 [tokens, hidden], scales [tokens, any] float32
                or int32). A row has a multiple of 16 bytes.
            topk_idx: int64 [tokens, topk], -1 for no expert; no expert twice for a token.
            topk_weights: float32 [tokens, topk]; None for none.
            cumulative_local_expert_recv_stats: int32 [local experts], exact counts are added to it,
                but not with a handle.
            previous_event, previous_event_before_epilogue: waited for before sending, laying out.
            handle: of an earlier dispatch, whose ways are used again, without ``topk_idx``.
            do_cpu_sync: as many rows as come, and counts in the handle (default without a handle);
                else as many rows as may come.
            do_expand: a row for each expert of a token, experts one after another, each from a
                multiple of ``expert_alignment``, tokens in the order of their sources.
            do_zero_padding: with ``do_expand``, rows between experts are zeroed.
            use_tma_aligned_col_major_sf: scales by columns, each from a multiple of 16 bytes.
            num_sms, num_qps, allocate_on_comm_stream: accepted for compatibility.

        Returns:
            ``recv_x`` as ``x``, by source rank, then token; ``recv_topk_idx`` int64 [rows, topk]:
            local experts, -1 for others, None with ``do_expand``; ``recv_topk_weights`` float32
            [rows, topk], 0 for others, or [rows] with ``do_expand``; the handle; the event.
            Rows beyond those that came, or between experts, are not defined.

        Raises:
            CrossdockError: as ``Buffer.dispatch``.
        """
        del num_qps, allocate_on_comm_stream
        stats, column_major = cumulative_local_expert_recv_stats, use_tma_aligned_col_major_sf
        request = Request(
            *(x, topk_idx, topk_weights, stats, num_experts, num_max_tokens_per_rank),
            *(expert_alignment, num_sms or RECOMMENDED_SMS, handle, do_handle_copy, do_cpu_sync),
            *(do_expand, do_zero_padding, column_major),
        )
        events = (previous_event, previous_event_before_epilogue)
        return self._dispatch(request, *events, async_with_compute_stream)

    def combine(
        self,
        x: torch.Tensor,
        handle: EPHandle,
        topk_weights: torch.Tensor | None = None,
        bias: Bias = None,
        num_sms: int = 0,
        num_qps: int = 0,
        previous_event: Event = None,
        previous_event_before_epilogue: Event = None,
        async_with_compute_stream: bool = False,
        allocate_on_comm_stream: bool = False,
    ) -> Combined:
        """Bring rows back and sum them, unweighted, in float32.

        With ``allow_multiple_reduction`` the expanded rows of a token are summed where they are, in
        the order of its choices, and rounded to bf16; then it is ``Buffer.combine``. Without it all
        rows of a token are summed once, in the order of its choices.

        Args:
            x: bf16 [rows, hidden], in the order of the dispatch.
            handle: of the dispatch.
            topk_weights: float32 [rows, topk], or [rows] if expanded; summed as well.
            bias: one or two bf16 [tokens, hidden], added in float32.
            previous_event, previous_event_before_epilogue: waited for before anything is sent.
            async_with_compute_stream: return before the sums are there; the event tells when.
            num_sms, num_qps, allocate_on_comm_stream: accepted for compatibility.

        Returns:
            bf16 [tokens, hidden]; float32 [tokens, topk] or None; the event. The sums are those of
            ``crossdock.ep.reference.elastic_combine``.

        Raises:
            CrossdockError: as ``Buffer.combine``.
        """
        del num_sms, num_qps, allocate_on_comm_stream
        events = (previous_event, previous_event_before_epilogue)
        given = (x, handle, topk_weights, bias, self._engine, self.communicator)
        self._expect_alive()
        if self.allow_multiple_reduction:
            check = _after(events, lambda: checked_folded(*given))
            return self._normal.combine(check, None, async_with_compute_stream)
        single = SingleReduction(*given)
        moved = self._normal.dispatch(
            _after(events, single.check), False, None, async_with_compute_stream
        )
        single.allocate(moved)
        event = self._then(moved[-1], single.reduce)
        return single.out, single.out_weights, event

    def _dispatch(
        self, request: Request, previous: Event, before_epilogue: Event, async_finish: bool
    ) -> Dispatched:
        self._expect_alive()
        one = ElasticDispatch(
            request, self._engine, self.communicator, self.num_max_tokens_per_rank
        )
        check = _after((previous,), one.check)
        moved = self._normal.dispatch(check, request.handle is not None, None, async_finish)
        one.allocate(moved)
        event = self._then(moved[-1], _after((before_epilogue,), one.unpack))
        return one.recv_x, one.recv_topk_idx, one.recv_topk_weights, one.handle, event

    def _then(self, moved: EventOverlap, finish: Callable[[], None]) -> EventOverlap:
        """Do the rest of an operation, now or when its rows are there."""
        if moved.event is not None:
            return self._stream.submit(finish, moved)
        finish()
        return moved


def _after(events: tuple[Event, ...], operation: Callable[[], T]) -> Callable[[], T]:
    """``operation``, once the events have passed. It fails with what they raise."""

    def waited() -> T:
        for event in events:
            overlap = expect_event(EventOverlap(event) if isinstance(event, EventHandle) else event)
            if overlap is not None:
                overlap.current_stream_wait()
        return operation()

    return waited


def _hint(num_ranks: int) -> int:
    return -(-_native.normal_bytes(num_ranks) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _agree(exchange: Exchange, timeout_s: float, settings: Callable[[], list[int]]) -> None:
    """What ranks must have alike so that their calls fit together."""
    gathered = agree(exchange, timeout_s, list[int], settings, "build an ElasticBuffer")
    mine = gathered[exchange.rank]
    names = ("num_max_tokens_per_rank", "allow_multiple_reduction")
    for peer, theirs in enumerate(gathered):
        for name, here, there in zip(names, mine, theirs, strict=True):
            if here != there:
                raise MismatchError(
                    f"rank {exchange.rank}: {name} is {here} here, but {there} on rank {peer}; it "
                    "must be the same on every rank"
                )


def _checked(
    num_ranks: int,
    num_bytes: object,
    num_cpu_bytes: object,
    num_max_tokens_per_rank: object,
    allow_multiple_reduction: object,
) -> list[int]:
    if expect_whole("num_cpu_bytes", num_cpu_bytes):
        raise ArgumentError(f"num_cpu_bytes is {num_cpu_bytes}, but must be 0: there is no Engram")
    num_max = expect_whole("num_max_tokens_per_rank", num_max_tokens_per_rank)
    if num_max < 0:
        raise ArgumentError(f"num_max_tokens_per_rank is {num_max}, but must not be negative")
    if num_bytes is not None:
        given, needed = expect_whole("num_bytes", num_bytes), _hint(num_ranks)
        if given % _ALIGNMENT_BYTES:
            raise ArgumentError(f"num_bytes is {given}, but must be a multiple of 2 MiB")
        if given < needed:
            raise CapacityError(
                f"num_bytes is {given}, but {num_ranks} ranks need {needed}; use "
                "ElasticBuffer.get_buffer_size_hint"
            )
    return [num_max, int(bool(allow_multiple_reduction))]
