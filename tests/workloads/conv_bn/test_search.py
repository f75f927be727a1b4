"""The largest batch, by any rising cost."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from crossdock.workloads.conv_bn.search import Search


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_largest_that_fits_in_few_tries(fitting: int, most: int) -> None:
    told: list[int] = []
    search = Search(lambda batch: batch if batch <= fitting else math.inf, 1000, most)
    found = search.run(lambda: told.append(search.fits))
    assert found == min(fitting, most) == search.fits
    assert len(search.tries) == len(told) <= 2 * math.log2(most + 1) + 2
    assert len({batch for batch, _ in search.tries}) == len(search.tries), "none is tried twice"
    assert all(1 <= batch <= most for batch, _ in search.tries)
    assert told == sorted(told)
    assert search.bytes_at(found) == (found or None)


def test_the_cap_itself_fits() -> None:
    search = Search(lambda batch: 10.0 * batch, 70.0, 100)
    assert search.run() == 7
    assert search.bytes_at(7) == 70.0
    assert search.bytes_at(99) is None
