"""Refusals: each says the value, the limit and what to do."""

from collections.abc import Sequence

import torch
from torch import Tensor


def expect_dtype(name: str, tensor: Tensor, *allowed: torch.dtype) -> None:
    if tensor.dtype not in allowed:
        wanted = " or ".join(str(dtype) for dtype in allowed)
        raise TypeError(f"{name} is {tensor.dtype}; pass {wanted}")


def expect_shape(name: str, tensor: Tensor, *wanted: int | None) -> None:
    """`None` stands for any size."""
    shape = tuple(tensor.shape)
    fits = len(shape) == len(wanted) and all(
        want is None or size == want for size, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        text = ", ".join("any" if size is None else str(size) for size in wanted)
        raise ValueError(f"{name} has shape {list(shape)}; pass [{text}]")


def expect_one_per_rank(name: str, entries: Sequence[object], num_ranks: int) -> None:
    if len(entries) != num_ranks:
        raise ValueError(
            f"{name} has {len(entries)} entries; pass one for each of {num_ranks} ranks"
        )


def expect_tables(
    name: str, tables: Sequence[Tensor], num_rows: Sequence[int | None], *allowed: torch.dtype
) -> None:
    """One matrix per rank, with these numbers of rows, and one width and dtype everywhere."""
    expect_one_per_rank(name, tables, len(num_rows))
    for rank, (table, rows) in enumerate(zip(tables, num_rows, strict=True)):
        where = f"{name} of rank {rank}"
        expect_dtype(where, table, *allowed)
        expect_dtype(where, table, tables[0].dtype)
        expect_shape(where, table, rows, None)
        expect_shape(where, table, rows, tables[0].shape[1])


def expect_blocks(hidden: int, block: int) -> None:
    if hidden == 0 or hidden % block != 0:
        raise ValueError(f"hidden is {hidden}; pass a positive multiple of {block}")


def expect_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; pass {least} or more")


def expect_ranks(name: str, ranks: Sequence[int], num_ranks: int) -> None:
    for rank in ranks:
        if not 0 <= rank < num_ranks:
            raise ValueError(f"{name} has rank {rank}; ranks are 0 to {num_ranks - 1}")


def expect_topk_idx(name: str, topk_idx: Tensor, num_experts: int) -> None:
    expect_dtype(name, topk_idx, torch.int64)
    expect_shape(name, topk_idx, None, None)
    wrong = topk_idx[(topk_idx < -1) | (topk_idx >= num_experts)]
    if wrong.numel() > 0:
        raise ValueError(
            f"{name} has expert {int(wrong[0])}; experts are 0 to {num_experts - 1}, or -1 for none"
        )


def local_experts(num_experts: int, num_ranks: int) -> int:
    """How many experts live on each rank."""
    if num_ranks < 1 or num_experts < 1 or num_experts % num_ranks != 0:
        raise ValueError(
            f"{num_experts} experts cannot be shared equally by {num_ranks} ranks; "
            f"pass a positive multiple of the number of ranks"
        )
    return num_experts // num_ranks
