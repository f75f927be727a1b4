"""Boots a guest once and runs in it the tests of `inside/`."""

from __future__ import annotations

import re
import sys

import pytest
from tests.rdma_lab.host import lab

GUEST_S_MAX = 100.0
TESTS_AT_LEAST = 16


@pytest.mark.parametrize("nics", [2, 4])
def test_everything_inside_passes(nics: int) -> None:
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/rdma_lab/inside"]
    done = lab("--nics", str(nics), "--", sys.executable, *tests, seconds=GUEST_S_MAX)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= TESTS_AT_LEAST


def test_memory_that_may_not_be_locked_is_refused() -> None:
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/rdma_lab/inside"]
    chosen = ["-k", "memory_beyond_the_limit"]
    done = lab("--memlock", str(8 << 20), "--", sys.executable, *tests, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
