"""The receiving side of ``ElasticBuffer.dispatch``: from the rows of the normal mode to one row for
each expert, and the handle that says which is where."""

from __future__ import annotations

import torch

from crossdock.ep import _native
from crossdock.ep.elastic_arguments import ElasticArguments, Request, checked_elastic
from crossdock.ep.elastic_handle import EPHandle
from crossdock.ep.normal import Dispatched
from crossdock.ep.normal_arguments import DispatchArguments, DispatchHandle, X
from crossdock.ep.tensors import local_tensor
from crossdock.proxy import Communicator
from crossdock.proxy.errors import MismatchError

_COLUMN_GRANULE = 4
"""A column of scales begins at a multiple of 16 bytes, as a tensor-memory access needs it."""


class ElasticDispatch:
    """One dispatch: ``check``, then the normal mode moves, ``allocate``, and ``unpack`` at last."""

    handle: EPHandle
    recv_x: X
    recv_topk_idx: torch.Tensor | None = None
    recv_topk_weights: torch.Tensor | None = None
    _args: ElasticArguments
    _rows: torch.Tensor  # of the normal mode
    _columns: torch.Tensor | None = None  # their scales, and what else travelled as such
    _weights: torch.Tensor | None = None
    _scales: torch.Tensor | None = None
    _out: torch.Tensor

    def __init__(
        self, request: Request, engine: _native.Engine, communicator: Communicator, num_max: int
    ) -> None:
        self._request = request
        self._engine = engine
        self._communicator = communicator
        self._rank = communicator.rank
        self._num_ranks = communicator.size
        self._num_max = num_max

    def check(self) -> DispatchArguments:
        """What the normal mode has to move. Raises what the caller did wrong."""
        self._args = checked_elastic(self._request, self._engine, self._num_ranks, self._num_max)
        return self._args.normal

    # ---- tensors ----------------------------------------------------------------------------

    def allocate(self, dispatched: Dispatched) -> None:
        """Make the results. ``dispatched`` says how much comes, it need not be there yet."""
        x, idx, self._weights, counts, normal_handle, _ = dispatched
        self._rows, self._columns = x if isinstance(x, tuple) else (x, None)
        args = self._args
        if args.handle is not None:
            self.handle = args.handle
        else:
            assert idx is not None
            assert normal_handle is not None
            self.handle = self._new_handle(normal_handle, idx, counts or [])
        self._allocate_results()

    def _new_handle(
        self, dispatched: DispatchHandle, idx: torch.Tensor, counts: list[int]
    ) -> EPHandle:
        args = self._args
        num_recv, num_expanded = self._sizes(self._rows.shape[0], counts)
        num_local = args.num_experts // self._num_ranks
        return EPHandle(
            do_expand=self._request.do_expand,
            num_experts=args.num_experts,
            expert_alignment=args.expert_alignment,
            num_max_tokens_per_rank=args.num_max_tokens_per_rank,
            num_sms=self._request.num_sms,
            topk_idx=args.topk_idx,
            num_recv_tokens=num_recv,
            num_expanded_tokens=num_expanded,
            num_recv_tokens_per_expert_list=counts if args.do_cpu_sync else [],
            psum_num_recv_tokens_per_scaleup_rank=self._empty(self._num_ranks),
            psum_num_recv_tokens_per_expert=self._empty(num_local),
            num_unaligned_recv_tokens_per_expert=self._empty(num_local),
            recv_src_metadata=self._empty(num_recv, args.topk_idx.shape[1] + 2),
            dispatched=dispatched,
            recv_topk_idx=idx,
            rank=self._rank,
            num_ranks=self._num_ranks,
        )

    def _empty(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.int32, device=self._rows.device)

    def _sizes(self, num_rows: int, counts: list[int]) -> tuple[int, int]:
        """Tokens and expanded rows; without CPU sync as many as there may be."""
        args = self._args
        if args.do_cpu_sync:
            return num_rows, sum(counts)
        most = args.num_max_tokens_per_rank * self._num_ranks
        num_local = args.num_experts // self._num_ranks
        alignment = args.expert_alignment
        rows = most * min(args.topk_idx.shape[1], num_local) + (alignment - 1) * num_local
        return most, -(-rows // alignment) * alignment

    def _allocate_results(self) -> None:
        args, handle, expand = self._args, self.handle, self._request.do_expand
        rows = self._rows
        num_rows = handle.num_expanded_tokens if expand else rows.shape[0]
        shape = (num_rows, rows.shape[1])
        if not expand:
            self._out = rows
        elif handle.num_recv_tokens_per_expert_list:
            self._out = local_tensor(self._communicator, shape, rows.dtype)
        else:
            self._out = rows.new_empty(shape)  # most of it is never touched
        self.recv_x = self._out
        if args.scales is not None:
            width = args.scales.shape[1]
            strides = (width, 1)
            if self._request.column_major_scales:
                strides = (1, -(-num_rows // _COLUMN_GRANULE) * _COLUMN_GRANULE)
            self._scales = torch.empty_strided(
                (num_rows, width), strides, dtype=args.scales.dtype, device=rows.device
            )
            self.recv_x = (self._out, self._scales)
        if not expand:
            idx = handle.recv_topk_idx
            self.recv_topk_idx = idx if args.handle is None else idx.clone()
        if not args.has_weights:
            return
        topk = handle.topk_idx.shape[1]
        if not expand and args.handle is None:
            self.recv_topk_weights = self._weights
        else:
            table = (num_rows,) if expand else (num_rows, topk)
            self.recv_topk_weights = torch.empty(table, dtype=torch.float32, device=rows.device)

    # ---- contents ---------------------------------------------------------------------------

    def unpack(self) -> None:
        """Fill the results and the handle with what has come."""
        args, handle = self._args, self.handle
        arrived = handle.num_arrived
        if args.handle is None:
            self._fill_handle(arrived)
        width = 0 if args.scales is None else args.scales.shape[1]
        weights = self._arrived_weights(arrived, width)
        scales = None
        if self._scales is not None:
            assert self._columns is not None
            scales = self._columns[:arrived, :width].view(self._scales.dtype)
        if self._request.do_expand:
            self._expand(arrived, scales, weights)
            return
        if self._scales is not None and scales is not None:
            self._scales[:arrived] = scales
        if weights is not None and args.handle is not None and self.recv_topk_weights is not None:
            self.recv_topk_weights[:arrived] = weights
            self.recv_topk_weights[arrived:] = 0

    def _arrived_weights(self, arrived: int, width: int) -> torch.Tensor | None:
        """float32 [arrived, K], 0 where the expert is elsewhere."""
        if not self._args.has_weights:
            return None
        if self._args.handle is None:
            assert self._weights is not None
            return self._weights[:arrived]
        assert self._columns is not None
        weights = self._columns[:arrived, width:].view(torch.float32)
        return torch.where(self.handle.recv_topk_idx[:arrived] >= 0, weights, 0.0)

    def _fill_handle(self, arrived: int) -> None:
        args, handle = self._args, self.handle
        assert self._columns is not None
        number = self._columns[:arrived, -1].view(torch.int32)
        self._expect_few(number)
        local = handle.recv_topk_idx[:arrived]
        is_here = local >= 0
        num_local = handle.num_unaligned_recv_tokens_per_expert.numel()
        counts = torch.bincount(local[is_here], minlength=num_local)
        alignment = args.expert_alignment
        aligned = (counts + alignment - 1).div(alignment, rounding_mode="floor") * alignment
        ends = aligned.cumsum(0)
        starts = ends - aligned
        first_row = torch.tensor(handle.dispatched.native.first_row, device=local.device)
        handle.psum_num_recv_tokens_per_scaleup_rank.copy_(first_row[1:])
        handle.psum_num_recv_tokens_per_expert.copy_(starts + counts if handle.do_expand else ends)
        handle.num_unaligned_recv_tokens_per_expert.copy_(counts)
        if self._request.statistics is not None:
            self._request.statistics.add_(counts)
        source = torch.arange(self._num_ranks, device=local.device)
        source = source.repeat_interleave(first_row.diff())
        metadata = handle.recv_src_metadata
        metadata.fill_(-1)
        metadata[:arrived, 0] = (source * args.num_max_tokens_per_rank + number).to(torch.int32)
        first_choice = is_here.to(torch.int8).argmax(1)
        metadata[:arrived, 1] = (source * local.shape[1] + first_choice).to(torch.int32)
        if handle.do_expand:
            slots = _slots(local[is_here], starts, counts)
            metadata[:arrived, 2:].masked_scatter_(is_here, slots.to(torch.int32))

    def _expect_few(self, number: torch.Tensor) -> None:
        num_max = self._args.num_max_tokens_per_rank
        if number.numel() and int(number.max()) >= num_max:
            raise MismatchError(
                f"rank {self._rank}: dispatch: num_max_tokens_per_rank is {num_max} here, but a "
                f"rank sent its token {int(number.max())}; it must be the same on every rank"
            )

    def _expand(
        self, arrived: int, scales: torch.Tensor | None, weights: torch.Tensor | None
    ) -> None:
        handle = self.handle
        slots = handle.recv_src_metadata[:arrived, 2:]
        row, choice = (slots >= 0).nonzero(as_tuple=True)
        order = slots[row, choice].argsort()
        row, choice = row[order], choice[order]
        counts = handle.num_unaligned_recv_tokens_per_expert.tolist()
        ends = handle.psum_num_recv_tokens_per_expert.tolist()
        done = 0
        for count, end in zip(counts, ends, strict=True):
            part = slice(done, done + count)
            place = slice(end - count, end)
            # Bytes: not every operation knows fp8.
            torch.index_select(
                self._rows.view(torch.uint8), 0, row[part], out=self._out[place].view(torch.uint8)
            )
            if self._scales is not None and scales is not None:
                self._scales[place] = scales[row[part]]
            if self.recv_topk_weights is not None and weights is not None:
                self.recv_topk_weights[place] = weights[row[part], choice[part]]
            done += count
            if self._request.do_zero_padding:
                self._zero(slice(end, -(-end // handle.expert_alignment) * handle.expert_alignment))

    def _zero(self, place: slice) -> None:
        self._out[place].view(torch.uint8).zero_()
        if self._scales is not None:
            self._scales[place] = 0
        if self.recv_topk_weights is not None:
            self.recv_topk_weights[place] = 0


def _slots(expert: torch.Tensor, starts: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The expanded row of each (token, choice): experts one after another, tokens in their order.

    Args:
        expert: int64 [pairs], ordered by token.
        starts: int64 [experts], first row of each expert.
        counts: int64 [experts].
    """
    order = expert.argsort(stable=True)
    sorted_expert = expert[order]
    before = counts.cumsum(0) - counts
    number = torch.arange(expert.numel(), device=expert.device) - before[sorted_expert]
    slots = torch.empty_like(expert)
    slots[order] = starts[sorted_expert] + number
    return slots
