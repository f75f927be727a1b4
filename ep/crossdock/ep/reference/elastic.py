"""The elastic dispatch and combine: rows for each expert, and where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import expect_at_least, expect_dtype, expect_shape, expect_tables, local_experts
from .normal_combine import Bias, Combined, bias_terms, combine
from .normal_dispatch import Dispatched, dispatch


@dataclass(frozen=True)
class ElasticDispatched:
    """What one rank received. Rows that hold no token (`is_token` is False) are zero here, and
    unspecified elsewhere.
    """

    recv_x: Tensor  # [rows, H]
    recv_scales: Tensor | None  # [rows, S]
    recv_topk_idx: Tensor | None  # int64[rows, K], None with do_expand
    recv_topk_weights: Tensor | None  # float32[rows, K], or [rows] with do_expand
    is_token: Tensor  # bool[rows]
    counts: list[int]  # aligned, of local experts; empty without CPU sync
    psum_per_rank: Tensor  # int32[R]
    psum_per_expert: Tensor  # int32[L]
    unaligned_counts: Tensor  # int32[L]
    recv_src_metadata: Tensor  # int32[N, K + 2]
    do_expand: bool
    plain: Dispatched  # what came, one row for each token


def elastic_dispatch(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor],
    topk_weights: Sequence[Tensor] | None,
    num_experts: int,
    num_max_tokens_per_rank: int,
    scales: Sequence[Tensor] | None = None,
    expert_alignment: int = 1,
    do_expand: bool = False,
    do_cpu_sync: bool = True,
) -> list[ElasticDispatched]:
    """Send each token once to each rank that has an expert of it, and lay it out there.

    Tokens come by source rank, then by number. With `do_expand` each local expert has its rows
    behind each other, in that order, from a multiple of `expert_alignment`. Without CPU sync there
    are as many rows as could come.
    """
    for tokens in topk_idx:
        expect_at_least("num_max_tokens_per_rank", num_max_tokens_per_rank, len(tokens))
        _expect_distinct(tokens)
    arrived = dispatch(x, topk_idx, topk_weights, num_experts, scales=scales)
    num_local = local_experts(num_experts, len(x))
    results = []
    for received in arrived:
        assert received.recv_topk_idx is not None
        experts = received.recv_topk_idx.tolist()
        unaligned = [sum(expert in row for row in experts) for expert in range(num_local)]
        aligned = [_aligned(count, expert_alignment) for count in unaligned]
        starts = [sum(aligned[:expert]) for expert in range(num_local)]
        ends = unaligned if do_expand else aligned
        most = num_max_tokens_per_rank * len(x)
        num_recv = len(experts) if do_cpu_sync else most
        num_expanded = sum(aligned)
        if not do_cpu_sync:
            choices = min(topk_idx[0].shape[1], num_local)
            room = most * choices + (expert_alignment - 1) * num_local
            num_expanded = _aligned(room, expert_alignment)
        slots = _slots(experts, starts) if do_expand else None
        place = _Place(received, slots, num_expanded if do_expand else num_recv)
        weights = None if topk_weights is None else place.weights()
        results.append(
            ElasticDispatched(
                recv_x=place.rows(received.recv_x),
                recv_scales=None if scales is None else place.rows(received.recv_scales),
                recv_topk_idx=None if do_expand else place.rows(received.recv_topk_idx, -1),
                recv_topk_weights=weights,
                is_token=place.is_token(),
                counts=aligned if do_cpu_sync else [],
                psum_per_rank=_psum_per_rank(received, len(x)),
                psum_per_expert=_int32([a + b for a, b in zip(starts, ends, strict=True)]),
                unaligned_counts=_int32(unaligned),
                recv_src_metadata=_metadata(received, slots, num_max_tokens_per_rank, num_recv),
                do_expand=do_expand,
                plain=received,
            )
        )
    return results


def elastic_combine(
    x: Sequence[Tensor],
    dispatched: Sequence[ElasticDispatched],
    topk_weights: Sequence[Tensor] | None = None,
    bias: Sequence[Bias | None] | None = None,
    node_of: Sequence[int] | None = None,
    allow_multiple_reduction: bool = True,
) -> list[Combined]:
    """Sum the rows of each token.

    With `allow_multiple_reduction` a rank first sums the expanded rows of a token in float32, in
    the order of its choices, and rounds to bf16 (a row alone stays as it is); then it is `combine`.
    Without it, each row counts for a choice, the first that led to its rank if it is not expanded,
    and all are added to 0 in the order of choices, in float32, and then the biases. Weights are
    summed likewise, in float32; an expanded row has the weight of its choice only.
    """
    expect_tables("x", x, [None] * len(dispatched), torch.bfloat16)
    tables = topk_weights
    if topk_weights is not None:
        pairs = zip(topk_weights, dispatched, strict=True)
        tables = [_by_choice(weights, received) for weights, received in pairs]
    if not allow_multiple_reduction:
        return [
            _summed_once(x, dispatched, source, tables, bias[source] if bias else None)
            for source in range(len(dispatched))
        ]
    folded = [_folded(rows, received) for rows, received in zip(x, dispatched, strict=True)]
    plain = [received.plain for received in dispatched]
    return combine(folded, plain, topk_weights=tables, bias=bias, node_of=node_of)


class _Place:
    """Puts what came where it belongs: token i in its slots, or in row i."""

    def __init__(self, received: Dispatched, slots: list[list[int]] | None, num_rows: int) -> None:
        self._received = received
        self._slots = slots
        self._num_rows = num_rows
        num_tokens = len(received.source_rank)
        self._of_token = [[row] for row in range(num_tokens)] if slots is None else slots

    def rows(self, table: Tensor | None, fill: int = 0) -> Tensor:
        assert table is not None
        shape = (self._num_rows, *table.shape[1:])
        placed = torch.full(shape, float(fill), dtype=torch.float32).to(table.dtype)
        for token, slots in enumerate(self._of_token):
            for slot in slots:
                if slot >= 0:
                    placed[slot] = table[token]
        return placed

    def is_token(self) -> Tensor:
        return self.rows(torch.ones(len(self._of_token), dtype=torch.bool))

    def weights(self) -> Tensor:
        table = self._received.recv_topk_weights
        assert table is not None
        if self._slots is None:
            return self.rows(table)
        placed = torch.zeros(self._num_rows, dtype=torch.float32)
        for token, slots in enumerate(self._slots):
            for choice, slot in enumerate(slots):
                if slot >= 0:
                    placed[slot] = table[token, choice]
        return placed


def _slots(experts: list[list[int]], starts: list[int]) -> list[list[int]]:
    """The expanded row of each choice of each token, -1 where the expert is elsewhere."""
    following = list(starts)
    slots = []
    for row in experts:
        slots.append([-1] * len(row))
        for choice, expert in enumerate(row):
            if expert >= 0:
                slots[-1][choice] = following[expert]
                following[expert] += 1
    return slots


def _metadata(
    received: Dispatched, slots: list[list[int]] | None, num_max: int, num_recv: int
) -> Tensor:
    assert received.recv_topk_idx is not None
    topk = received.recv_topk_idx.shape[1]
    metadata = torch.full((num_recv, topk + 2), -1, dtype=torch.int32)
    for token, experts in enumerate(received.recv_topk_idx.tolist()):
        source = int(received.source_rank[token])
        first = min(choice for choice in range(topk) if experts[choice] >= 0)
        metadata[token, 0] = source * num_max + int(received.source_token[token])
        metadata[token, 1] = source * topk + first
        if slots is not None:
            metadata[token, 2:] = _int32(slots[token])
    return metadata


def _psum_per_rank(received: Dispatched, num_ranks: int) -> Tensor:
    return _int32([int((received.source_rank <= rank).sum()) for rank in range(num_ranks)])


def _by_choice(weights: Tensor, received: ElasticDispatched) -> Tensor:
    """float32[N, K] from the weights of expanded rows."""
    if not received.do_expand:
        return weights[: len(received.plain.source_rank)]
    expect_dtype("topk_weights", weights, torch.float32)
    expect_shape("topk_weights", weights, None)
    slots = received.recv_src_metadata[: len(received.plain.source_rank), 2:]
    table = torch.zeros(slots.shape, dtype=torch.float32)
    for token, row in enumerate(slots.tolist()):
        for choice, slot in enumerate(row):
            if slot >= 0:
                table[token, choice] = weights[slot]
    return table


def _folded(x: Tensor, received: ElasticDispatched) -> Tensor:
    num_tokens = len(received.plain.source_rank)
    if not received.do_expand:
        return x[:num_tokens]
    folded = x.new_zeros((num_tokens, x.shape[1]))
    for token, row in enumerate(received.recv_src_metadata[:num_tokens, 2:].tolist()):
        rows = [x[slot] for slot in row if slot >= 0]
        total = rows[0].float()
        for other in rows[1:]:
            total = total + other.float()
        folded[token] = total.bfloat16()
    return folded


def _summed_once(
    x: Sequence[Tensor],
    dispatched: Sequence[ElasticDispatched],
    source: int,
    topk_weights: Sequence[Tensor] | None,
    bias: Bias | None,
) -> Combined:
    num_tokens = dispatched[source].plain.num_tokens
    topk = dispatched[source].recv_src_metadata.shape[1] - 2
    total = torch.zeros((num_tokens, x[source].shape[1]), dtype=torch.float32)
    weights = torch.zeros((num_tokens, topk), dtype=torch.float32)
    for choice in range(topk):
        for rank, received in enumerate(dispatched):
            for row in (received.plain.source_rank == source).nonzero().flatten().tolist():
                metadata = received.recv_src_metadata[row]
                slot = int(metadata[2 + choice])
                if not received.do_expand:
                    slot = row if int(metadata[1]) % topk == choice else -1
                if slot < 0:
                    continue
                token = int(received.plain.source_token[row])
                total[token] += x[rank][slot].float()
                if topk_weights is None:
                    continue
                if received.do_expand:
                    weights[token, choice] += topk_weights[rank][row, choice]
                else:
                    weights[token] += topk_weights[rank][row]
    for term in bias_terms(bias):
        total += term.float()
    return Combined(total.bfloat16(), None if topk_weights is None else weights)


def _expect_distinct(topk_idx: Tensor) -> None:
    for token, row in enumerate(topk_idx.tolist()):
        named = [expert for expert in row if expert >= 0]
        if len(named) != len(set(named)):
            raise ValueError(f"topk_idx names an expert twice for token {token}: {row}")


def _aligned(count: int, alignment: int) -> int:
    return -(-count // alignment) * alignment


def _int32(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)
