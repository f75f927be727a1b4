"""The elastic part of the reference, against an example worked out by hand: two ranks with two
experts each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from crossdock.ep import reference

IDX = [torch.tensor([[2, 1], [3, 2]]), torch.tensor([[2, -1]])]
WEIGHTS = [torch.tensor([[0.5, 0.25], [2.0, 4.0]]), torch.tensor([[8.0, 16.0]])]


def rows(*values: float) -> Tensor:
    """Rows of eight equal channels."""
    return torch.tensor(values).repeat_interleave(8).view(-1, 8).bfloat16()


X = [rows(1, 2), rows(3)]


def first(table: Tensor) -> list[float]:
    return table[:, 0].tolist()


def test_plain_rows() -> None:
    _, one = reference.elastic_dispatch(X, IDX, WEIGHTS, 4, 10, expert_alignment=2)
    assert first(one.recv_x) == [1, 2, 3]
    assert one.recv_topk_idx is not None
    assert one.recv_topk_idx.tolist() == [[0, -1], [1, 0], [0, -1]]
    assert one.counts == [4, 2]
    assert one.psum_per_rank.tolist() == [2, 3]
    assert one.psum_per_expert.tolist() == [4, 6]
    assert one.unaligned_counts.tolist() == [3, 1]
    assert one.recv_src_metadata.tolist() == [[0, 0, -1, -1], [1, 0, -1, -1], [10, 2, -1, -1]]


def test_expanded_rows() -> None:
    none, one = reference.elastic_dispatch(
        X, IDX, WEIGHTS, 4, 10, expert_alignment=2, do_expand=True
    )
    assert first(one.recv_x) == [1, 2, 3, 0, 2, 0]
    assert one.is_token.tolist() == [True, True, True, False, True, False]
    assert one.recv_topk_idx is None
    assert one.recv_topk_weights is not None
    assert one.recv_topk_weights.tolist() == [0.5, 4, 8, 0, 2, 0]
    assert one.psum_per_expert.tolist() == [3, 5]
    assert one.recv_src_metadata.tolist() == [[0, 0, 0, -1], [1, 0, 4, 1], [10, 2, 2, -1]]
    assert first(none.recv_x) == [1, 0]
    assert none.psum_per_expert.tolist() == [0, 1]
    assert none.recv_src_metadata.tolist() == [[0, 1, -1, 0]]


def test_as_many_rows_as_may_come() -> None:
    _, one = reference.elastic_dispatch(X, IDX, None, 4, 2, do_cpu_sync=False)
    assert len(one.recv_x) == len(one.recv_src_metadata) == 4
    assert one.counts == []
    assert one.recv_src_metadata[3].tolist() == [-1] * 4
    _, one = reference.elastic_dispatch(
        X, IDX, None, 4, 2, expert_alignment=4, do_expand=True, do_cpu_sync=False
    )
    assert len(one.recv_x) == 16, "4 tokens to 2 experts, and 3 rows of padding for each, in 4s"


def test_sums_are_rounded_on_the_way_or_not() -> None:
    dispatched = reference.elastic_dispatch(X, IDX, None, 4, 10, do_expand=True)
    # Token 1 of rank 0 has 256 from one expert of rank 1 and 1 from the other: 257 is not in bf16.
    y = [rows(7), rows(10, 1, 20, 256)]
    bias = [(rows(0, 1), rows(0, 0.5)), None]
    twice = reference.elastic_combine(y, dispatched, bias=bias)
    assert [first(one.combined_x) for one in twice] == [[17, 258], [20]]
    once = reference.elastic_combine(y, dispatched, bias=bias, allow_multiple_reduction=False)
    assert [first(one.combined_x) for one in once] == [[17, 258], [20]]
    whole = [rows(0, 2), None]
    twice = reference.elastic_combine(y, dispatched, bias=whole)
    assert first(twice[0].combined_x) == [17, 258]
    once = reference.elastic_combine(y, dispatched, bias=whole, allow_multiple_reduction=False)
    assert first(once[0].combined_x) == [17, 260]


def test_weights_come_back_to_their_choices() -> None:
    dispatched = reference.elastic_dispatch(X, IDX, WEIGHTS, 4, 10, do_expand=True)
    y = [rows(0), rows(0, 0, 0, 0)]
    back = [torch.tensor([1.0]), torch.tensor([2.0, 3.0, 4.0, 5.0])]
    for multiple in (False, True):
        zero, one = reference.elastic_combine(
            y, dispatched, back, allow_multiple_reduction=multiple
        )
        assert zero.combined_topk_weights is not None
        assert zero.combined_topk_weights.tolist() == [[2, 1], [5, 3]]
        assert one.combined_topk_weights is not None
        assert one.combined_topk_weights.tolist() == [[4, 0]]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names an expert twice for token 1: \[3, 3\]"):
        reference.elastic_dispatch(X, [torch.tensor([[0, 1], [3, 3]]), IDX[1]], None, 4, 10)
    with pytest.raises(ValueError, match="num_max_tokens_per_rank is 1; pass 2 or more"):
        reference.elastic_dispatch(X, IDX, None, 4, 1)
