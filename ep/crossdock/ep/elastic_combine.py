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
from crossdock.ep.tensors import expect_rows, expect_tensor
from crossdock.proxy.errors import ArgumentError


def checked_folded(
    x: object, handle: object, topk_weights: object, bias: Bias, engine: _native.Engine
) -> CombineArguments:
    """Arguments of a combine of the normal mode: one row for each token that came."""
    known = checked_elastic_handle(handle, engine)
    if not known.do_expand:
        return checked_combine(x, known.dispatched, topk_weights, bias, engine)
    rows, weights = _checked_expanded(x, topk_weights, known)
    slots = known.recv_src_metadata[: known.num_arrived, 2:].long()
    folded = fold(rows, slots)
    by_choice = None if weights is None else torch.where(slots >= 0, weights[slots], 0.0)
    return checked_combine(folded, known.dispatched, by_choice, bias, engine)


def fold(rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """bf16 [tokens, hidden]: the rows of each token, summed in float32 in the order of its choices.

    Args:
        rows: bf16 [expanded rows, hidden].
        slots: int64 [tokens, choices], -1 for no row; each token has one at least.
    """
    # The first of the others is added to it, not to 0: a row alone comes through bit for bit.
    order = (slots < 0).to(torch.int8).argsort(dim=1, stable=True)
    slots, counts = slots.gather(1, order), (slots >= 0).sum(1)
    folded = rows.index_select(0, slots[:, 0])
    several = (counts > 1).nonzero().flatten()
    if several.numel():
        total = folded[several].float()
        for choice in range(1, int(counts.max())):
            more = (counts[several] > choice).nonzero().flatten()
            total[more] += rows.index_select(0, slots[several[more], choice]).float()
        folded[several] = total.to(rows.dtype)
    return folded


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
        self, x: object, handle: object, topk_weights: object, bias: Bias, engine: _native.Engine
    ) -> None:
        self._given = (x, handle, topk_weights, bias)
        self._engine = engine

    def check(self) -> DispatchArguments:
        """What the normal mode has to move. Raises what the caller did wrong."""
        x, handle, topk_weights, bias = self._given
        known = checked_elastic_handle(handle, self._engine)
        self._shape = known.topk_idx.shape
        if known.do_expand:
            rows = _expanded_rows(x, topk_weights, known)
        else:
            rows = _plain_rows(x, topk_weights, known, self._engine)
        self._biases = checked_biases(bias, self._shape[0], rows.x.shape[1])
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
        self.out = self._rows.new_empty((num_tokens, self._rows.shape[1]))
        if self._tags.shape[1] > 1:
            self.out_weights = torch.zeros(
                (num_tokens, topk), dtype=torch.float32, device=self._rows.device
            )

    def reduce(self) -> None:
        """Sum what has come, in the order of each token's choices."""
        topk = self._shape[1]
        place = self._tags[:, 0].long()
        token, choice = place.div(topk, rounding_mode="floor"), place % topk
        total = torch.zeros(self.out.shape, dtype=torch.float32, device=self.out.device)
        for number in range(topk):
            # A token has one row for a choice, so no index occurs twice.
            rows = (choice == number).nonzero().flatten()
            total[token[rows]] += self._rows[rows].float()
            if self.out_weights is not None:
                self.out_weights[token[rows]] += self._tags[rows, 1:].view(torch.float32)
        for bias in self._biases:
            total += bias.detach().float()
        self.out.copy_(total)


def _plain_rows(x: object, topk_weights: object, handle: EPHandle, engine: _native.Engine) -> _Rows:
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
