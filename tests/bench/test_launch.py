from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Iterator

import pytest
from tests.bench import bodies

from crossdock.bench import launch, machine
from crossdock.bench.errors import BenchFailed
from crossdock.bench.ranks import cores_of


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Whatever a test does, no rank outlives it."""
    yield
    assert not mp.active_children()


def test_ranks_meet_and_are_pinned() -> None:
    told: list[tuple[int, int, str]] = []
    result = launch.run(bodies.introduce, "hello", 2, 60.0, lambda *a: told.append(a)).decode()
    cpus = machine.cpuset()
    where = [sorted(cores_of(rank, 2, cpus)) for rank in range(2)]
    assert result == f"hello 0/2 on {where[0]}; hello 1/2 on {where[1]}; 3; True"
    assert told == [(1, 2, "half way")], "only rank 0 reports progress"


def test_failure_names_the_rank_and_the_reason() -> None:
    with pytest.raises(BenchFailed, match=r"(?s)rank 1 failed.*ValueError: no such shape"):
        launch.run(bodies.raise_on_the_last, "no such shape", 2, 60.0)


def test_death_is_noticed_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(BenchFailed, match="rank 1 ended with status -9"):
        launch.run(bodies.die_on_the_last, None, 2, 60.0)
    assert time.monotonic() - start < 40


def test_deadline_ends_everybody() -> None:
    with pytest.raises(BenchFailed, match=r"ranks \[0, 1\] are not done after 8 s"):
        launch.run(bodies.oversleep, 100.0, 2, 8.0)


def test_cores_are_shared_evenly_or_taken_in_turn() -> None:
    assert [cores_of(r, 2, (0, 1, 2, 3)) for r in range(2)] == [(0, 1), (2, 3)]
    assert [cores_of(r, 4, (4, 7)) for r in range(4)] == [(4,), (7,), (4,), (7,)]
    assert [cores_of(r, 3, (0, 1, 2, 3)) for r in range(3)] == [(0,), (1,), (2,)]
    assert cores_of(0, 1, (0, 1)) == (0, 1)


def test_torchrun_is_recognised_by_its_variables() -> None:
    variables = dict.fromkeys(launch.TORCHRUN_VARIABLES, "1")
    assert launch.under_torchrun(variables)
    del variables["LOCAL_RANK"]
    assert not launch.under_torchrun(variables)
