from __future__ import annotations

import torch

from crossdock.bench.checks import count_wrong_arrivals, count_wrong_sums
from crossdock.bench.workload import Arrived


def arrived(rows: torch.Tensor) -> Arrived:
    labels = torch.arange(len(rows)).unsqueeze(1)
    return Arrived(rows, None, labels, None, torch.tensor([len(rows)]))


def some(rows: int, columns: int = 24) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1)).bfloat16()


def test_equal_results_have_nothing_wrong() -> None:
    rows = some(5)
    rows[2, 3] = float("nan")
    assert count_wrong_arrivals(arrived(rows), arrived(rows.clone())) == 0


def test_a_bit_makes_a_row_wrong() -> None:
    rows = some(5)
    rows[1, 0] = 0.0
    other = rows.clone()
    other[1, 0] = -0.0
    other[4] += 1
    assert count_wrong_arrivals(arrived(other), arrived(rows)) == 2


def test_missing_and_surplus_rows_are_wrong() -> None:
    rows = some(5)
    assert count_wrong_arrivals(arrived(rows[:3]), arrived(rows)) == 2
    assert count_wrong_arrivals(arrived(rows), arrived(rows[:3])) == 2
    assert count_wrong_arrivals(arrived(rows[:0]), arrived(rows[:0])) == 0


def test_labels_and_counts_are_looked_at() -> None:
    right = arrived(some(5))
    assert count_wrong_arrivals(right._replace(labels=right.labels.flip(0)), right) == 4
    assert count_wrong_arrivals(right._replace(counts=torch.tensor([4])), right) == 1
    assert count_wrong_arrivals(right._replace(scales=torch.ones(5, 1)), right) == 5


def test_another_dtype_is_wrong() -> None:
    right = arrived(some(5))
    assert count_wrong_arrivals(right._replace(rows=right.rows.float()), right) == 5


def test_sums_are_exact_or_near() -> None:
    right = some(6, 32)
    near = right.clone()
    near[2] *= 1.004
    assert count_wrong_sums(near, right, exact=True) == 1
    assert count_wrong_sums(near, right, exact=False) == 0
    near[3] *= 1.1
    near[4, 0] = float("nan")
    assert count_wrong_sums(near, right, exact=False) == 2
    assert count_wrong_sums(near[:2], right, exact=False) == 6
