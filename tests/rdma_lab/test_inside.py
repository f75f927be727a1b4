"""Boots a guest and runs in it the tests of `inside/`, and suites of the products over verbs.

``CROSSDOCK_LAB_ALL=1`` runs all of them with two NICs and with four; else each with the number that
tells most.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import pytest
from tests.rdma_lab.host import lab

ALL = os.environ.get("CROSSDOCK_LAB_ALL") == "1"
INSIDE = "tests/rdma_lab/inside"
# Faults of links want several NICs; what one connection does is the same with more.
ONE_PATH = ("test_conformance.py", "test_bad_input.py")
SEVERAL_PATHS = ("test_failover.py", "test_soak.py")
GUEST_S_MAX = 900.0
TESTS_AT_LEAST = {2: 40, 4: 24}

PROXY = [f"tests/proxy/test_{name}.py" for name in ("communicator", "failures")]
# Two live results, rounds at different speeds, masks.
EP_CHOSEN = (
    "test_two_results_live_at_once or test_many_rounds_at_different_speeds"
    " or test_a_mask_set_by_hand"
)
# Programs that are compiled, kernels by themselves; the GPU's have a suite of their own.
WITHOUT_NETWORK = ("test_protocol_mutations.py", "kernels", "gpu", "csrc")
TEST_S_MAX = 600.0
PATIENCE = 4
"""A guest has one processor, which is emulated."""
ALL_S_MAX = 3600.0


def run_inside(nics: int, tests: Sequence[str], seconds: float) -> int:
    """Runs tests in a guest, over verbs where they run over any network; how many have passed."""
    limit = f"timeout={TEST_S_MAX:g}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", limit, *tests]
    network = ["env", "CROSSDOCK_TEST_NETWORK=verbs", f"CROSSDOCK_TEST_PATIENCE={PATIENCE}"]
    done = lab("--nics", str(nics), "--", *network, *command, seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    return int(passed[1])


@pytest.mark.timeout(GUEST_S_MAX + 60)
@pytest.mark.parametrize("nics", [2, 4])
def test_everything_inside_passes(nics: int) -> None:
    left_out = () if ALL else (SEVERAL_PATHS if nics == 2 else ONE_PATH)
    ignored = [f"--ignore={INSIDE}/{name}" for name in left_out]
    assert run_inside(nics, [INSIDE, *ignored], GUEST_S_MAX) >= TESTS_AT_LEAST[nics]


def test_memory_that_may_not_be_locked_is_refused() -> None:
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", INSIDE]
    chosen = ["-k", "memory_beyond_the_limit"]
    done = lab("--memlock", str(8 << 20), "--", sys.executable, *tests, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.timeout(GUEST_S_MAX + 60)
@pytest.mark.skipif(ALL, reason="the whole suites run instead")
def test_chosen_tests_of_the_products_pass_over_verbs() -> None:
    tests = [*PROXY, "tests/ep/test_buffer_rounds.py", "tests/ep/test_buffer_masks.py"]
    chosen = ["-k", f"verbs and (proxy or {EP_CHOSEN})"]
    assert run_inside(4, [*tests, *chosen], GUEST_S_MAX) >= 10


# Of each product over verbs: the tests, and how many there are at least.
SUITES = {
    "proxy": ([*PROXY, "tests/proxy/test_life.py"], 80),
    "ep": (["tests/ep", *(f"--ignore=tests/ep/{name}" for name in WITHOUT_NETWORK)], 500),
    "gpu": (["tests/ep/gpu"], 80),
}


@pytest.mark.timeout(ALL_S_MAX + 60)
@pytest.mark.skipif(not ALL, reason="takes half an hour: CROSSDOCK_LAB_ALL=1")
@pytest.mark.parametrize("nics", [2, 4])
@pytest.mark.parametrize("suite", SUITES)
def test_whole_suites_pass_over_verbs(suite: str, nics: int) -> None:
    tests, at_least = SUITES[suite]
    assert run_inside(nics, tests, ALL_S_MAX) >= at_least
