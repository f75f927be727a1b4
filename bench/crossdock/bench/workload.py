"""What is dispatched and combined: the inputs of a rank, the experts, and the results to expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import torch
from torch import Tensor

from crossdock.ep import reference
from crossdock.proxy import schema

Mode = Literal["normal", "low_latency"]
Dtype = Literal["bf16", "fp8"]
BF16_BYTES = 2
MAX_SEED = (1 << 63) // schema.MAX_PEERS - 1
"""Each rank has a seed of its own, which the generator takes as 64 bits with a sign."""
EXPERT_ROWS = 1024
"""For which experts work at a time, so that their float32 copies stay small."""


class Shape(msgspec.Struct, frozen=True):
    """One exchange."""

    mode: Mode
    dtype: Dtype
    ranks: int
    tokens: int
    """Of each rank."""
    hidden: int
    topk: int
    experts: int
    seed: int = 0

    @property
    def local_experts(self) -> int:
        """Experts of one rank."""
        return self.experts // self.ranks

    @property
    def dispatched_row_bytes(self) -> int:
        """A token on its way to an expert, scales included."""
        if self.dtype == "bf16":
            return self.hidden * BF16_BYTES
        return self.hidden + self.hidden // reference.fp8.BLOCK * 4

    @property
    def combined_row_bytes(self) -> int:
        """A token on its way back."""
        return self.hidden * BF16_BYTES


class Inputs(NamedTuple):
    """What one rank sends."""

    x: Tensor
    """bf16[T, H]; with fp8 too: low-latency mode casts it, normal mode takes `values`."""
    values: Tensor
    """What normal mode sends: `x`, or fp8[T, H]."""
    scales: Tensor | None
    topk_idx: Tensor
    topk_weights: Tensor


def inputs_of(shape: Shape, rank: int) -> Inputs:
    """The same on every process for the same shape and rank. Experts are drawn uniformly."""
    generator = torch.Generator().manual_seed(shape.seed * schema.MAX_PEERS + rank)
    x = torch.randn(shape.tokens, shape.hidden, generator=generator).bfloat16()
    scores = torch.rand(shape.tokens, shape.experts, generator=generator)
    topk_idx = scores.topk(shape.topk, dim=1).indices.contiguous()
    topk_weights = torch.rand(shape.tokens, shape.topk, generator=generator)
    if shape.dtype == "bf16":
        return Inputs(x, x, None, topk_idx, topk_weights)
    values, scales = reference.fp8_cast(x)
    return Inputs(x, values, scales, topk_idx, topk_weights)


def experts_output(rows: Tensor, scales: Tensor | None, rank: int) -> Tensor:
    """What the experts of a rank make of rows: bf16, and different on each rank."""
    output = torch.empty(rows.shape, dtype=torch.bfloat16)
    for first in range(0, len(rows), EXPERT_ROWS):
        part = slice(first, first + EXPERT_ROWS)
        values = rows[part] if scales is None else reference.fp8_uncast(rows[part], scales[part])
        output[part] = values.float() * (1 + rank / 8)
    return output


class Arrived(NamedTuple):
    """Rows that a rank received, in the order of the reference, and what came with them.

    Normal mode: a row for each token, with its local experts and weights. Low-latency mode: a row
    for each expert of a token, by experts, with the source token.
    """

    rows: Tensor
    scales: Tensor | None
    labels: Tensor
    """int64 [rows, K] local experts, or [rows, 1] source tokens."""
    weights: Tensor | None
    counts: Tensor
    """Rows of each local expert."""


class Expected(NamedTuple):
    """The right results of one rank."""

    arrived: Arrived
    combined: Tensor


def expected_of_all(shape: Shape) -> list[Expected]:
    """What the reference gives, for every rank."""
    inputs = [inputs_of(shape, rank) for rank in range(shape.ranks)]
    return _normal(shape, inputs) if shape.mode == "normal" else _low_latency(shape, inputs)


def _normal(shape: Shape, inputs: Sequence[Inputs]) -> list[Expected]:
    scales = None if shape.dtype == "bf16" else [i.scales for i in inputs if i.scales is not None]
    dispatched = reference.dispatch(
        [i.values for i in inputs],
        [i.topk_idx for i in inputs],
        [i.topk_weights for i in inputs],
        shape.experts,
        scales,
    )
    outputs = [experts_output(d.recv_x, d.recv_scales, r) for r, d in enumerate(dispatched)]
    combined = reference.combine(outputs, dispatched)
    return [
        Expected(
            Arrived(
                d.recv_x,
                d.recv_scales,
                _given(d.recv_topk_idx),
                _given(d.recv_topk_weights),
                torch.tensor(d.num_recv_tokens_per_expert, dtype=torch.int64),
            ),
            c.combined_x,
        )
        for d, c in zip(dispatched, combined, strict=True)
    ]


def _low_latency(shape: Shape, inputs: Sequence[Inputs]) -> list[Expected]:
    topk_idx = [i.topk_idx for i in inputs]
    dispatched = reference.low_latency_dispatch(
        [i.x for i in inputs], topk_idx, shape.tokens, shape.experts, use_fp8=shape.dtype == "fp8"
    )
    arrived = [
        packed(d.recv_x, d.recv_scales, d.recv_count, d.src_info, d.layout_range)
        for d in dispatched
    ]
    outputs = [
        unpacked(experts_output(a.rows, a.scales, rank), a.counts, d.recv_x.shape[1])
        for rank, (a, d) in enumerate(zip(arrived, dispatched, strict=True))
    ]
    weights = [i.topk_weights for i in inputs]
    combined = reference.low_latency_combine(outputs, topk_idx, weights, dispatched)
    return [Expected(a, c) for a, c in zip(arrived, combined, strict=True)]


def packed(
    recv_x: Tensor,
    recv_scales: Tensor | None,
    recv_count: Tensor,
    src_info: Tensor,
    layout_range: Tensor,
) -> Arrived:
    """The valid rows of a low-latency result, by expert, source rank and source token."""
    places: list[Tensor] = []
    for number, ranges in enumerate(layout_range.tolist()):
        for begin, count in ((both >> 32, both & 0xFFFFFFFF) for both in ranges):
            order = src_info[number, begin : begin + count].argsort()
            places.append(number * src_info.shape[1] + begin + order)
    place = torch.cat(places)
    local, row = place // src_info.shape[1], place % src_info.shape[1]
    return Arrived(
        recv_x[local, row],
        None if recv_scales is None else recv_scales[local, row],
        src_info[local, row].long().unsqueeze(1),
        None,
        recv_count.long(),
    )


def unpacked(rows: Tensor, counts: Tensor, room: int) -> Tensor:
    """Rows by experts as [L, room, H]; what is beyond the counts is not set."""
    result = rows.new_empty(len(counts), room, rows.shape[1])
    for local, part in enumerate(torch.split(rows, counts.tolist())):
        result[local, : len(part)] = part
    return result


def _given(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("the reference was given top-k and must return it")
    return tensor
