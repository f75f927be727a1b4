"""``EPHandle``: what a dispatch of ``ElasticBuffer`` tells its caller, and what combine needs."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import torch

from crossdock.ep import _native
from crossdock.ep.normal_arguments import DispatchHandle, checked_handle
from crossdock.proxy.errors import ArgumentError


@dataclasses.dataclass(eq=False)
class EPHandle:
    """Where the tokens of a dispatch came from and where they went. R ranks, L experts on a rank,
    T tokens sent from here with K choices each. Tensors are filled when the dispatch has ended.

    Attributes:
        do_expand: whether a token has a row for each of its experts, or one row.
        num_experts: of all ranks together.
        expert_alignment: to which counts of experts are rounded up.
        num_max_tokens_per_rank: M, the same on every rank.
        num_sms: as asked for.
        topk_idx: int64 [T, K], what was dispatched.
        num_recv_tokens: N, tokens that came; R * M without CPU sync.
        num_expanded_tokens: rows of the expanded result; as many as there may be without CPU sync.
        num_recv_tokens_per_expert_list: rows of each local expert, aligned; empty without CPU sync.
        psum_num_recv_tokens_per_scaleup_rank: int32 [R], tokens that came from this rank and
            those before it.
        psum_num_recv_tokens_per_expert: int32 [L]. The aligned counts of the experts before, plus
            this expert's own: aligned too, or exact with ``do_expand``.
        num_unaligned_recv_tokens_per_expert: int32 [L], exact counts.
        recv_src_metadata: int32 [N, K + 2]. Column 0: the rank it came from * M + its number
            there. Column 1: that rank * K + its first choice that led here. Then, with
            ``do_expand``, the row of each choice, -1 where the expert is elsewhere; without, -1.
            Rows beyond the tokens that came are -1.
        token_metadata_at_forward, channel_linked_list: None; forwarding is the proxies' business.
    """

    do_expand: bool
    num_experts: int
    expert_alignment: int
    num_max_tokens_per_rank: int
    num_sms: int
    topk_idx: torch.Tensor
    num_recv_tokens: int
    num_expanded_tokens: int
    num_recv_tokens_per_expert_list: list[int]
    psum_num_recv_tokens_per_scaleup_rank: torch.Tensor
    psum_num_recv_tokens_per_expert: torch.Tensor
    num_unaligned_recv_tokens_per_expert: torch.Tensor
    recv_src_metadata: torch.Tensor
    dispatched: DispatchHandle
    """Of the normal mode. This and what follows is not DeepEP's."""
    recv_topk_idx: torch.Tensor
    """int64 [rows, K], as the normal mode gave it."""
    rank: int
    num_ranks: int
    token_metadata_at_forward: torch.Tensor | None = None
    channel_linked_list: torch.Tensor | None = None

    @property
    def num_arrived(self) -> int:
        """Tokens that came, exactly."""
        return self.dispatched.native.num_recv

    @cached_property
    def dst_buffer_slot_idx(self) -> torch.Tensor:
        """int32 [T, K]: this rank * M + how many tokens went to the same rank before, at the first
        choice that leads to a rank; -1 at the others.
        """
        destination = self.topk_idx.div(self.num_experts // self.num_ranks, rounding_mode="floor")
        first = first_choices(destination)
        before = self.dispatched.is_token_in_rank.to(torch.int32).cumsum(0, dtype=torch.int32) - 1
        number = before.gather(1, destination.clamp(min=0))
        number += self.rank * self.num_max_tokens_per_rank
        return torch.where(first, number, -1).to(torch.int32)


def first_choices(destination: torch.Tensor) -> torch.Tensor:
    """bool [T, K]: no earlier choice of the token has this destination, which is not negative."""
    num_choices = destination.shape[1]
    same = destination[:, :, None] == destination[:, None, :]
    earlier = torch.ones(num_choices, num_choices, dtype=torch.bool, device=same.device).tril(-1)
    return ~(same & earlier).any(2) & (destination >= 0)


def checked_elastic_handle(handle: object, engine: _native.Engine) -> EPHandle:
    """The handle, when a dispatch of this ElasticBuffer made it, and has ended well."""
    if not isinstance(handle, EPHandle):
        raise ArgumentError(f"handle is a {type(handle).__name__}; pass the handle of a dispatch")
    checked_handle(handle.dispatched, engine)
    return handle
