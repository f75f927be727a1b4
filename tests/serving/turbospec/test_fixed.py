"""One length, or a table of lengths."""

import pytest

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import Batch, Fixed, Table


def names(count: int) -> list[str]:
    return [str(i) for i in range(count)]


@pytest.mark.parametrize(("count", "length"), [(1, 5), (3, 5), (4, 2), (31, 2), (32, 0), (999, 0)])
def test_the_length_of_a_table_holds_until_the_next_entry(count: int, length: int) -> None:
    plan = Table({32: 0, 1: 5, 4: 2}).plan(Batch(names(count), 0))
    assert plan.draft_length == length
    assert plan.verify == [length] * count


def test_limits_of_requests_are_kept() -> None:
    plan = Fixed(3).plan(Batch(names(4), 0, limits=[0, 1, 3, 9]))
    assert plan.draft_length == 3
    assert plan.verify == [0, 1, 3, 3]


def test_a_batch_of_nobody_has_the_first_length() -> None:
    assert Table({1: 2, 2: 7}).plan(Batch([], 0)).draft_length == 2


@pytest.mark.parametrize("lengths", [{}, {2: 1}, {0: 1, 1: 1}, {1: 3, 4: -1}])
def test_a_table_with_a_gap_is_refused(lengths: dict[int, int]) -> None:
    with pytest.raises(ArgumentError, match="an entry for 1 request and no negative length"):
        Table(lengths)
