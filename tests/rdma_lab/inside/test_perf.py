"""The wall times of perftest grow with what is transferred."""

from __future__ import annotations

import pytest
from tests.rdma_lab import perf


def test_time_is_that_of_the_transfers() -> None:
    figure = perf.measure(perf.WRITES, 65536, 1000, runs=1)
    assert figure.transfers == 1000
    assert 0.01 < figure.seconds < 30


def test_failure_of_a_program_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        perf.measure([*perf.WRITES, "-e"], 64, 100)  # which it does not have for writes
