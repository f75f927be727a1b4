"""Each rank is killed, stopped or slowed down at each of fifty points of a dispatch and combine.

The others name it in time and work on among themselves, or go on without it, or wait for it.
``CROSSDOCK_POINTS=50`` tries all points; else there is a sample.
"""

from __future__ import annotations

import gc
import itertools
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.ep.blows import (
    ALL_POINTS,
    HEAP_BYTES,
    MASKING_DEADLINE_S,
    NAMED_WITHIN_S,
    POINTS,
    SIGNALS,
    SIZE,
    Blow,
    Work,
    attend,
    masks,
)
from tests.ep.worlds import built, on_one_node
from tests.harness import PATIENCE, RankContext, run_ranks
from tests.networks import NETWORK

from crossdock.ep import Buffer
from crossdock.proxy.errors import DeadlineExceeded, PeerLost


def points() -> list[int]:
    return [(2 * i + 1) * ALL_POINTS // (2 * POINTS) for i in range(POINTS)]


# ---- the others ---------------------------------------------------------------------------------


def survive(rank: RankContext, blow: Blow, works: dict[int, Work]) -> float | None:
    """How long it took until the victim was named; None where there was no reason to."""
    buffer = blow.build(rank)
    patient = blow.kind == "slow" or blow.point < 0
    named: float | None = None
    try:
        if patient:
            be_patient(rank, blow, buffer, works[SIZE])
        elif blow.masked:
            named = go_on_without(rank, blow, buffer, works[SIZE])
        else:
            named = name_the_culprit(rank, blow, buffer, works[SIZE])
            buffer.destroy()
            work_anew(rank, blow, works[SIZE - 1])
        rank.exchange(f"pace-{blow.name}").all_gather(b"", 60)
        rank.exchange(f"end-{blow.name}").all_gather(b"", 60)
    finally:
        if not buffer.communicator.destroyed:
            buffer.destroy()
    return named


def work_anew(rank: RankContext, blow: Blow, work: Work) -> None:
    """The survivors meet in another Buffer."""
    left = [r for r in range(SIZE) if r != blow.victim]
    fewer = on_one_node(SIZE - 1, blow.transport, blow.threads)
    name = f"anew-{blow.name}"
    room = {"low_latency": (8, 256, 8), "heap_bytes": HEAP_BYTES}
    with built(rank, fewer, name, ranks=left, **room) as buffer:
        work.run(rank, buffer)


def be_patient(rank: RankContext, blow: Blow, buffer: Buffer, work: Work) -> None:
    for _ in range(2):
        if blow.masked:
            work.run_masked(buffer, None, blow.victim)
        else:
            work.run(rank, buffer)
    if blow.masked:
        assert masks(buffer) == [0] * SIZE


def since_the_blow(rank: RankContext, blow: Blow) -> float:
    return time.monotonic() - float((rank.folder / f"moment-{blow.name}").read_text())


def name_the_culprit(rank: RankContext, blow: Blow, buffer: Buffer, work: Work) -> float:
    def again_and_again() -> None:
        for _ in range(1000):
            work.run(rank, buffer)

    with pytest.raises((PeerLost, DeadlineExceeded)) as caught:
        again_and_again()
    error = caught.value
    named = since_the_blow(rank, blow)
    if isinstance(error, PeerLost):
        assert error.rank == blow.victim, error
    else:
        assert isinstance(error, DeadlineExceeded)
        assert blow.kind == "stop"
        assert error.missing == (blow.victim,), error
    return named


def go_on_without(rank: RankContext, blow: Blow, buffer: Buffer, work: Work) -> float:
    """Until both have masked the victim, and a few rounds more."""
    named: float | None = None
    others = [r for r in range(SIZE) if r != blow.victim]
    files = {r: rank.folder / f"seen-{blow.name}-{r}" for r in others}
    for number in range(1000):
        work.run_masked(buffer, None, blow.victim)
        if named is None and masks(buffer)[blow.victim]:
            named = since_the_blow(rank, blow)
            draft = files[rank.rank].with_suffix(".draft")
            draft.write_text(str(number))
            draft.rename(files[rank.rank])
        if all(file.exists() for file in files.values()):
            last = max(int(file.read_text()) for file in files.values())
            if number >= last + 2:
                break
    assert masks(buffer) == [int(r == blow.victim) for r in range(SIZE)]
    assert named is not None
    return named


# ---- one rank of the harness --------------------------------------------------------------------


def belongings() -> dict[str, int]:
    """What a leak would make grow."""
    process = Path("/proc/self")
    maps = (process / "maps").read_text().splitlines()
    return {
        "files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "mappings": sum("memfd:crossdock" in line for line in maps),
    }


def strike_everywhere(
    whole: RankContext, transport: str, numbers: list[int]
) -> dict[str, list[float]]:
    """Three groups of ranks, of which each has another victim; how long it took to name it."""
    torch.set_num_threads(1)
    victim = whole.rank // SIZE
    folder = whole.folder / f"group-{victim}"
    folder.mkdir(exist_ok=True)
    rank = RankContext(whole.rank % SIZE, SIZE, folder)
    works = {size: Work(size) for size in (SIZE, SIZE - 1)}
    commands = {}
    for quiet in (Blow("slow", transport, victim, -1), Blow("slow", transport, victim, -2)):
        bear(rank, quiet, works)
        commands[quiet.masked] = int((folder / f"commands-{quiet.name}").read_text())
    took: dict[str, list[float]] = {kind: [] for kind in SIGNALS}
    before: dict[str, int] = {}
    for point, kind in itertools.product(numbers, SIGNALS):
        blow = Blow(kind, transport, victim, point, commands[point % 2 == 1])
        named = bear(rank, blow, works)
        took[kind] += [] if named is None else [named]
        before = before or belongings()
        assert settled(before) == before, blow
    return took


def bear(rank: RankContext, blow: Blow, works: dict[int, Work]) -> float | None:
    """One blow, as the victim or as one of the others."""
    # The deadline of what follows is for one that is stopped, not for one that is still tidying up.
    rank.exchange(f"ready-{blow.name}").all_gather(b"", 60)
    try:
        if rank.rank != blow.victim:
            return survive(rank, blow, works)
        attend(rank, blow, works[SIZE])
    except BaseException as error:
        error.add_note(str(blow))
        raise
    finally:
        gc.collect()
    return None


def settled(expected: dict[str, int]) -> dict[str, int]:
    """Belongings, when threads that were ending have had a moment."""
    end = time.monotonic() + 2.0
    while (now := belongings()) != expected and time.monotonic() < end:
        time.sleep(0.01)
    return now


def check_times(kind: str, named: list[float], blows: int) -> None:
    assert len(named) == (0 if kind == "slow" else SIZE * (SIZE - 1) * blows)
    if not named:
        return
    middle, last = sorted(named)[len(named) // 2], max(named)
    sys.stdout.write(f"{kind}: named in {middle:.3f} s (median), {last:.3f} s at most\n")
    assert last < NAMED_WITHIN_S + (2 * MASKING_DEADLINE_S if kind == "stop" else 0)


@pytest.mark.timeout((180 + 30 * POINTS) * PATIENCE)
@pytest.mark.parametrize("transport", ["shm", NETWORK])
def test_each_rank_is_struck_at_each_point(transport: str) -> None:
    before = set(Path("/dev/shm").iterdir())
    numbers = points()
    took = run_ranks(
        strike_everywhere, SIZE * SIZE, transport, numbers, timeout=60 + 30 * len(numbers)
    )
    for kind in SIGNALS:
        check_times(kind, [seconds for rank in took for seconds in rank[kind]], len(numbers))
    assert set(Path("/dev/shm").iterdir()) <= before
