"""Low-latency mode: a row for each expert of a token at a fixed place, and the weighted sum."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import (
    expect_at_least,
    expect_dtype,
    expect_one_per_rank,
    expect_ranks,
    expect_shape,
    expect_tables,
    expect_topk_idx,
    local_experts,
)
from .fp8 import fp8_cast
from .layouts import tokens_in_experts
from .logfmt import logfmt_roundtrip


@dataclass(frozen=True)
class LowLatencyDispatched:
    """What one rank received. R*M rows for each of its L experts, packed from row 0.

    An expert's rows come by source rank, then by source token. Rows from recv_count on are
    unspecified (zero here).
    """

    recv_x: Tensor  # [L, R*M, H], fp8 or bf16
    recv_scales: Tensor | None  # float32[L, R*M, H/128], int32[L, R*M, H/512] with ue8m0
    recv_count: Tensor  # int32[L]
    src_info: Tensor  # int32[L, R*M]: source token
    layout_range: Tensor  # int64[L, R]: the rows of a source rank, begin << 32 | count


def low_latency_dispatch(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor],
    num_max_dispatch_tokens_per_rank: int,
    num_experts: int,
    use_fp8: bool = True,
    round_scale: bool = False,
    use_ue8m0: bool = False,
    masked_ranks: Collection[int] = (),
) -> list[LowLatencyDispatched]:
    """Send each token once to each expert that it names; a masked rank sends and gets nothing."""
    num_max = num_max_dispatch_tokens_per_rank
    num_local = local_experts(num_experts, len(x))
    _expect_tokens(x, topk_idx, num_max)
    expect_ranks("masked_ranks", list(masked_ranks), len(x))
    if (round_scale or use_ue8m0) and not use_fp8:
        raise ValueError("round_scale and use_ue8m0 choose the scales of fp8; pass use_fp8=True")

    rows: Sequence[Tensor] = x
    scales: Sequence[Tensor] | None = None
    if use_fp8:
        casts = [fp8_cast(tokens, round_scale, use_ue8m0) for tokens in x]
        rows, scales = [values for values, _ in casts], [scale for _, scale in casts]
    in_expert = [tokens_in_experts(idx, num_experts) for idx in topk_idx]

    results = []
    for rank in range(len(x)):
        result = _no_rows(num_local, len(x) * num_max, rows, scales)
        for local in range(num_local):
            expert = rank * num_local + local
            sent = [named[:, expert].nonzero().flatten() for named in in_expert]
            for source in range(len(x)):
                if rank in masked_ranks or source in masked_ranks:
                    sent[source] = sent[source][:0]
            _fill(result, local, sent, rows, scales)
        results.append(result)
    return results


def low_latency_combine(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor],
    topk_weights: Sequence[Tensor],
    dispatched: Sequence[LowLatencyDispatched],
    use_logfmt: bool = False,
    masked_ranks: Collection[int] = (),
) -> list[Tensor]:
    """bf16[T, H] per rank: the weighted sum of each token's rows, x being [L, R*M, H] per rank.

    Summed in float32, k ascending, each product rounded and then added, and rounded to bf16 at
    the end. Experts on masked ranks contribute nothing, and what a masked rank itself would get
    is 0. With `use_logfmt` every row makes the trip through LogFMT.
    """
    _expect_outputs(x, topk_idx, topk_weights, dispatched)
    expect_ranks("masked_ranks", list(masked_ranks), len(x))
    num_local = dispatched[0].src_info.shape[0]

    results = []
    for source, (idx, weights) in enumerate(zip(topk_idx, topk_weights, strict=True)):
        row_of = _rows_of_tokens(dispatched, source, len(idx))
        total = torch.zeros(len(idx), x[source].shape[-1], dtype=torch.float32)
        for k in range(idx.shape[1]):
            expert = idx[:, k]
            for rank in range(len(x)):
                if rank in masked_ranks or source in masked_ranks:
                    continue
                tokens = ((expert >= 0) & (expert // num_local == rank)).nonzero().flatten()
                row = row_of[tokens, expert[tokens]]
                _expect_received(row, source, tokens, expert)
                output = x[rank][expert[tokens] % num_local, row]
                if use_logfmt:
                    output = logfmt_roundtrip(output)
                total[tokens] += weights[tokens, k].unsqueeze(1) * output.float()
        results.append(total.bfloat16())
    return results


def _no_rows(
    num_local: int, num_rows: int, rows: Sequence[Tensor], scales: Sequence[Tensor] | None
) -> LowLatencyDispatched:
    def zeros(dtype: torch.dtype, *sizes: int) -> Tensor:
        return torch.zeros(num_local, *sizes, dtype=dtype)

    def room_for(tables: Sequence[Tensor]) -> Tensor:
        return zeros(tables[0].dtype, num_rows, tables[0].shape[1])

    return LowLatencyDispatched(
        recv_x=room_for(rows),
        recv_scales=None if scales is None else room_for(scales),
        recv_count=zeros(torch.int32),
        src_info=zeros(torch.int32, num_rows),
        layout_range=zeros(torch.int64, len(rows)),
    )


def _fill(
    result: LowLatencyDispatched,
    local: int,
    sent: Sequence[Tensor],
    rows: Sequence[Tensor],
    scales: Sequence[Tensor] | None,
) -> None:
    begin = 0
    for source, tokens in enumerate(sent):
        end = begin + len(tokens)
        result.recv_x[local, begin:end] = rows[source][tokens]
        if scales is not None and result.recv_scales is not None:
            result.recv_scales[local, begin:end] = scales[source][tokens]
        result.src_info[local, begin:end] = tokens
        result.layout_range[local, source] = begin << 32 | len(tokens)
        begin = end
    result.recv_count[local] = begin


def _rows_of_tokens(
    dispatched: Sequence[LowLatencyDispatched], source: int, num_tokens: int
) -> Tensor:
    """int64[T, E]: which row of an expert's a token of `source` is, -1 if none."""
    columns = []
    for received in dispatched:
        for local, packed in enumerate(received.layout_range[:, source].tolist()):
            begin, count = packed >> 32, packed & 0xFFFFFFFF
            tokens = received.src_info[local, begin : begin + count].long()
            if bool((tokens >= num_tokens).any()):
                raise ValueError(
                    f"topk_idx of rank {source} has {num_tokens} tokens and token "
                    f"{int(tokens.max())} was dispatched; pass the topk_idx of the dispatch"
                )
            column = torch.full((num_tokens,), -1, dtype=torch.int64)
            column[tokens] = torch.arange(begin, begin + count)
            columns.append(column)
    return torch.stack(columns, dim=1)


def _expect_tokens(x: Sequence[Tensor], topk_idx: Sequence[Tensor], num_max: int) -> None:
    expect_at_least("num_max_dispatch_tokens_per_rank", num_max, 1)
    expect_tables("x", x, [None] * len(x), torch.bfloat16)
    expect_tables("topk_idx", topk_idx, [len(tokens) for tokens in x], torch.int64)
    for rank, tokens in enumerate(x):
        if len(tokens) > num_max:
            raise ValueError(
                f"rank {rank} has {len(tokens)} tokens and num_max_dispatch_tokens_per_rank is "
                f"{num_max}; pass {len(tokens)} or more"
            )


def _expect_outputs(
    x: Sequence[Tensor],
    topk_idx: Sequence[Tensor],
    topk_weights: Sequence[Tensor],
    dispatched: Sequence[LowLatencyDispatched],
) -> None:
    expect_one_per_rank("x", x, len(dispatched))
    num_local, num_rows = dispatched[0].src_info.shape
    for output in x:
        expect_dtype("x", output, torch.bfloat16)
        expect_shape("x", output, num_local, num_rows, x[0].shape[-1])
    expect_tables("topk_idx", topk_idx, [None] * len(x), torch.int64)
    for idx in topk_idx:
        expect_topk_idx("topk_idx", idx, num_local * len(x))
    expect_tables("topk_weights", topk_weights, [len(idx) for idx in topk_idx], torch.float32)
    expect_shape("topk_weights", topk_weights[0], None, topk_idx[0].shape[1])


def _expect_received(row: Tensor, source: int, tokens: Tensor, expert: Tensor) -> None:
    absent = tokens[row < 0]
    if len(absent) > 0:
        token = int(absent[0])
        raise ValueError(
            f"expert {int(expert[token])} has no row of token {token} of rank {source}; "
            f"pass the topk_idx and the masked ranks of the dispatch"
        )
