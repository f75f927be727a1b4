"""``ElasticBuffer.combine``: which rows are summed where, in which order.

With ``allow_multiple_reduction`` the expanded rows of a token are summed on the rank of the
experts, as bf16, and go back through the combine of the normal mode. Without it every row goes
back by itself, in a dispatch whose "experts" are the ranks, and all are summed once.
"""

from __future__ import annotations

import dataclasses

import torch

from crossdock.ep import _native
from crossdock.ep.elastic_handle import EPHandle, checked_elastic_handle
from crossdock.ep.normal import Dispatched
from crossdock.ep.normal_arguments import (
    Bias,
    CombineArguments,
    DispatchArguments,
    checked_biases,
    checked_combine,
)
from crossdock.ep.tensors import expect_rows, expect_tensor, local_tensor
from crossdock.proxy import Communicator
from crossdock.proxy.errors import ArgumentError

_BLOCK_NUMBERS = 1 << 18
"""Of float32 that are summed at a time: 1 MiB."""


def checked_folded(
    x: object,
    handle: object,
    topk_weights: object,
    bias: Bias,
    engine: _native.Engine,
    communicator: Communicator,
) -> CombineArguments:
    """Arguments of a combine of the normal mode: one row for each token that came."""
    known = checked_elastic_handle(handle, engine)
    if not known.do_expand:
        expect_tensor("x", x, [torch.bfloat16], [None, None])
        return checked_combine(x, known.dispatched, topk_weights, bias, engine)
    rows, weights = _checked_expanded(x, topk_weights, known)
    slots = known.recv_src_metadata[: known.num_arrived, 2:].long()
    folded = local_tensor(communicator, (slots.shape[0], rows.shape[1]), rows.dtype)
    sum_rows(rows, slots, folded, from_zero=False)
    by_choice = None if weights is None else torch.where(slots >= 0, weights[slots], 0.0)
    return checked_combine(folded, known.dispatched, by_choice, bias, engine)


def sum_rows(
    rows: torch.Tensor,
    slots: torch.Tensor,
    out: torch.Tensor,
    biases: tuple[torch.Tensor, ...] = (),
    *,
    from_zero: bool,
) -> None:
    """Sum the rows of each token, in float32, in the order of its choices.

    Args:
        rows: bf16 [any, hidden].
        slots: int64 [tokens, choices], which row is that of a choice, -1 for none.
        out: bf16 [tokens, hidden], is filled.
        biases: bf16 [tokens, hidden], added at last.
        from_zero: else the sum begins with the first row, which each token must have: -0 stays.
    """
    order = (slots < 0).to(torch.int8).argsort(dim=1, stable=True)
    slots, counts = slots.gather(1, order), (slots >= 0).sum(1)
    # Those with most rows first: what has one row more is the beginning of a block. And a block
    # stays in the cache while it is summed.
    tokens = counts.argsort(descending=True)
    slots, counts = slots[tokens], counts[tokens]
    size = max(1, _BLOCK_NUMBERS // rows.shape[1])
    for begin in range(0, slots.shape[0], size):
        block = slice(begin, begin + size)
        where, mine = tokens[block], slots[block]
        if from_zero:
            total = torch.zeros((len(where), rows.shape[1]), dtype=torch.float32, device=out.device)
        else:
            total = rows.index_select(0, mine[:, 0]).float()
        for choice in range(0 if from_zero else 1, int(counts[begin])):
            few = int((counts[block] > choice).sum())
            total[:few] += rows.index_select(0, mine[:few, choice])
        for bias in biases:
            total += bias.index_select(0, where)
        out.index_copy_(0, where, total.to(out.dtype))


def _checked_expanded(
    x: object, topk_weights: object, handle: EPHandle
) -> tuple[torch.Tensor, torch.Tensor | None]:
    rows = expect_tensor("x", x, [torch.bfloat16], [None, None])
    expect_rows("x", rows)
    ends = handle.psum_num_recv_tokens_per_expert
    needed = int(ends.max()) if handle.num_arrived else 0
    weights = None
    if topk_weights is not None:
        weights = expect_tensor("topk_weights", topk_weights, [torch.float32], [None])
    for name, tensor in (("x", rows), ("topk_weights", weights)):
        if tensor is not None and tensor.shape[0] < needed:
            raise ArgumentError(
                f"{name} has {tensor.shape[0]} rows, but the dispatch gave {needed}"
            )
    return rows.detach(), weights


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows that go back: ``place`` is the token at its source * K + the choice, -1 for none."""

    x: torch.Tensor
    source: torch.Tensor
    place: torch.Tensor
    weights: torch.Tensor | None  # float32 [rows, K]


class SingleReduction:
    """One combine in which every row goes back by itself."""

    out: torch.Tensor
    out_weights: torch.Tensor | None = None
    _biases: tuple[torch.Tensor, ...]
    _rows: torch.Tensor
    _tags: torch.Tensor
    _shape: torch.Size

    def __init__(
        self,
        x: object,
        handle: object,
        topk_weights: object,
        bias: Bias,
        engine: _native.Engine,
        communicator: Communicator,
    ) -> None:
        self._given = (x, handle, topk_weights, bias)
        self._engine = engine
        self._communicator = communicator

    def check(self) -> DispatchArguments:
        """What the normal mode has to move. Raises what the caller did wrong."""
        x, handle, topk_weights, bias = self._given
        known = checked_elastic_handle(handle, self._engine)
        self._shape = known.topk_idx.shape
        if known.do_expand:
            rows = _expanded_rows(x, topk_weights, known)
        else:
            rows = _plain_rows(x, topk_weights, known, self._engine)
        biases = checked_biases(bias, self._shape[0], rows.x.shape[1], rows.x.dtype)
        self._biases = tuple(term.detach() for term in biases)
        tags = rows.place[:, None].to(torch.int32)
        if rows.weights is not None:
            tags = torch.cat([tags, rows.weights.view(torch.int32)], dim=1)
        ranks = torch.arange(known.num_ranks, device=rows.x.device)
        in_rank = (rows.source[:, None] == ranks) & (rows.place >= 0)[:, None]
        return DispatchArguments(
            x=rows.x,
            scales=tags,
            topk_idx=None,
            topk_weights=None,
            is_token_in_rank=in_rank,
            tokens_per_expert=in_rank.sum(0, dtype=torch.int32),
            num_experts=known.num_ranks,
            handle=None,
            expert_alignment=1,
            num_worst_tokens=0,
        )

    def allocate(self, dispatched: Dispatched) -> None:
        """Make the results."""
        x = dispatched[0]
        assert isinstance(x, tuple)
        self._rows, self._tags = x
        num_tokens, topk = self._shape
        shape = (num_tokens, self._rows.shape[1])
        self.out = local_tensor(self._communicator, shape, self._rows.dtype)
        if self._tags.shape[1] > 1:
            self.out_weights = torch.zeros(
                (num_tokens, topk), dtype=torch.float32, device=self._rows.device
            )

    def reduce(self) -> None:
        """Sum what has come, in the order of each token's choices."""
        topk = self._shape[1]
        place = self._tags[:, 0].long()
        slots = torch.full((self._shape.numel(),), -1, device=place.device)
        slots[place] = torch.arange(place.numel(), device=place.device)
        slots = slots.view(self._shape)
        sum_rows(self._rows, slots, self.out, self._biases, from_zero=True)
        if self.out_weights is not None:
            weights = self._tags[:, 1:].contiguous().view(torch.float32)
            for choice in range(topk):
                tokens = (slots[:, choice] >= 0).nonzero().flatten()
                self.out_weights[tokens] += weights[slots[tokens, choice]]


def _plain_rows(x: object, topk_weights: object, handle: EPHandle, engine: _native.Engine) -> _Rows:
    expect_tensor("x", x, [torch.bfloat16], [None, None])
    checked = checked_combine(x, handle.dispatched, topk_weights, None, engine)
    arrived, topk = handle.num_arrived, handle.topk_idx.shape[1]
    weights = checked.topk_weights
    if weights is not None:
        weights = expect_tensor("topk_weights", weights, [torch.float32], [None, topk])[:arrived]
    source, token = _sources(handle)
    choice = handle.recv_src_metadata[:arrived, 1].long() % topk
    return _Rows(checked.x[:arrived], source, token * topk + choice, weights)


def _expanded_rows(x: object, topk_weights: object, handle: EPHandle) -> _Rows:
    rows, given = _checked_expanded(x, topk_weights, handle)
    topk = handle.topk_idx.shape[1]
    slots = handle.recv_src_metadata[: handle.num_arrived, 2:].long()
    row, choice = (slots >= 0).nonzero(as_tuple=True)
    slot = slots[row, choice]
    source_of, token_of = _sources(handle)
    source, place = (torch.full((rows.shape[0],), -1, device=rows.device) for _ in range(2))
    source[slot] = source_of[row]
    place[slot] = token_of[row] * topk + choice
    weights = None
    if given is not None:
        weights = torch.zeros((rows.shape[0], topk), dtype=torch.float32, device=rows.device)
        weights[slot, choice] = given[slot]
    return _Rows(rows, source, place, weights)


def _sources(handle: EPHandle) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank and number there of each token that came, int64."""
    number = handle.recv_src_metadata[: handle.num_arrived, 0].long()
    most = handle.num_max_tokens_per_rank
    return number.div(most, rounding_mode="floor"), number % most
