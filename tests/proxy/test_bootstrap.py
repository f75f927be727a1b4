"""What a rank learns of a step that it could not do, whatever the others make of it."""

from __future__ import annotations

import errno

import pytest

from crossdock.proxy import ThreadExchange
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import DeadlineExceeded, TransportError


def run_out_of_files() -> bool:
    raise OSError(errno.EMFILE, "Too many open files")


def divide() -> bool:
    return 1 // 0 == 0


def test_what_went_wrong_here_goes_before_who_is_late() -> None:
    """The other rank tries to reach this one until the deadline, and brings its part too late."""
    exchange, _ = ThreadExchange.group(2)
    with pytest.raises(TransportError, match="rank 0 cannot connect: Too many open") as caught:
        agree(exchange, 0.05, bool, run_out_of_files, "connect")
    assert caught.value.errno == errno.EMFILE
    with pytest.raises(ZeroDivisionError):
        agree(ThreadExchange.group(2)[0], 0.05, bool, divide, "connect")


def test_a_rank_that_is_well_learns_who_is_late() -> None:
    exchange, _ = ThreadExchange.group(2)
    with pytest.raises(DeadlineExceeded) as caught:
        agree(exchange, 0.05, bool, lambda: True, "connect")
    assert caught.value.missing == (1,)
