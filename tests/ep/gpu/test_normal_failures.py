"""What goes wrong in the normal mode by kernels: who is named, how soon, and that a Buffer works on
after what was only refused."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.ep.gpu.test_failures import SILENCE_S, SIZE, VICTIM, until
from tests.ep.normal_cases import NormalCase, NormalSpec, check_dispatch, check_normal
from tests.ep.pool import RankPool, Seat
from tests.ep.worlds import INTERPRETED, build, on_one_node
from tests.harness import Died, RankContext, run_ranks

from crossdock.ep import Buffer
from crossdock.ep.gpu.normal import GpuNormalMode
from crossdock.proxy.errors import (
    Aborted,
    ArgumentError,
    CapacityError,
    CrossdockError,
    CutOff,
    DeadlineExceeded,
    MismatchError,
    PeerArgumentError,
    PeerLost,
)

WORLD = on_one_node(SIZE, "shm", 1)
NOTICE_S = 15.0  # the deadline is later
SPEC = NormalSpec((2, 3, 1), local_experts=2, topk=2)


def seated(rank: RankContext, **more: Any) -> Seat:
    torch.set_num_threads(1)
    return Seat(rank, WORLD, build(rank, WORLD, device="interpreter", **more))


def killed(rank: RankContext) -> float:
    seat = seated(rank)
    check_normal(seat, SPEC)
    rank.exchange("before").all_gather(b"", 20)
    if rank.rank == VICTIM:
        os.kill(os.getpid(), signal.SIGKILL)
    start = time.monotonic()
    error = until(PeerLost, lambda: check_normal(seat, SPEC))
    took = time.monotonic() - start
    assert error.rank == VICTIM, error
    with pytest.raises(Aborted):
        check_normal(seat, SPEC)
    seat.buffer.destroy()
    return took


def test_a_rank_that_is_killed_is_named() -> None:
    took = run_ranks(killed, SIZE, may_die={VICTIM}, environment=INTERPRETED)
    assert took[VICTIM] == Died(signal.SIGKILL)
    assert max(t for t in took if isinstance(t, float)) < NOTICE_S, took


def silent(rank: RankContext) -> None:
    seat = seated(rank, timeout_s=SILENCE_S)
    pace = rank.exchange("pace")
    check_normal(seat, SPEC)
    pace.all_gather(b"", 20)
    if rank.rank != VICTIM:
        with pytest.raises((DeadlineExceeded, PeerLost)) as caught:
            check_dispatch(seat, NormalCase(SPEC, WORLD.nodes))
        error = caught.value
        if isinstance(error, DeadlineExceeded):
            assert error.missing == (VICTIM,), error
            assert "normal mode: headers" in str(error)
        else:  # the other one was a moment faster, and says who is to blame
            assert isinstance(error, PeerLost)
            assert error.rank == VICTIM, error
    pace.all_gather(b"", 30)
    if rank.rank == VICTIM:
        with pytest.raises(CutOff, match=r"given up by rank\(s\) [02]"):
            check_normal(seat, SPEC)
    seat.buffer.destroy()


def test_a_rank_that_does_not_call_is_named() -> None:
    run_ranks(silent, SIZE, environment=INTERPRETED)


def kernels_of(buffer: Buffer) -> GpuNormalMode:
    assert buffer._gpu is not None
    assert buffer._gpu.normal is not None
    return buffer._gpu.normal


# ---- what is refused ----------------------------------------------------------------------------

Call = Callable[[Buffer, NormalCase, int, Any], object]


def dispatch(**wrong: Any) -> Call:
    return lambda buffer, case, rank, _: buffer.dispatch(**case.arguments(rank) | wrong)


def wider(buffer: Buffer, case: NormalCase, rank: int, _: Any) -> object:
    return buffer.dispatch(
        **NormalCase(dataclasses.replace(SPEC, hidden=72), (0,) * SIZE).arguments(rank)
    )


def combine(hidden: int, dtype: torch.dtype = torch.bfloat16) -> Call:
    def call(buffer: Buffer, case: NormalCase, rank: int, handle: Any) -> object:
        return buffer.combine(torch.zeros(handle.num_rows, hidden, dtype=dtype), handle)

    return call


def without_room(buffer: Buffer, case: NormalCase, rank: int, _: Any) -> object:
    monkey = pytest.MonkeyPatch()

    def full(size: int) -> None:
        raise CapacityError(f"no free stretch of {size} bytes")

    with monkey.context() as patch:
        patch.setattr(buffer.communicator, "allocate", full)
        patch.setattr(kernels_of(buffer)._arena, "_size", 0)
        return buffer.dispatch(**case.arguments(rank))


# What rank 1 calls instead of what the others do, its error, and theirs.
WRONG: dict[str, tuple[Call, Call, type[Exception], str, type[Exception], str]] = {
    "arguments of a dispatch": (
        dispatch(), dispatch(expert_alignment=0),
        ArgumentError, "expert_alignment is 0", PeerArgumentError, "rank 1 refused its arguments",
    ),
    "too few rows": (
        dispatch(num_worst_tokens=100), dispatch(num_worst_tokens=1),
        ArgumentError, "num_worst_tokens is too small: . tokens come",
        PeerArgumentError, "rank 1 refused its arguments",
    ),
    "no room": (
        dispatch(), without_room,
        CapacityError, "no free stretch", PeerArgumentError, "rank 1 has no room in its heap",
    ),
    "other rows": (
        dispatch(), wider,
        MismatchError, "bytes per row of x is 144 here, but 128 on rank 0",
        MismatchError, "bytes per row of x is 128 here, but 144 on rank 1",
    ),
    "arguments of a combine": (
        combine(64), combine(64, torch.float16),
        ArgumentError, "x is torch.float16", PeerArgumentError, "rank 1 refused its arguments",
    ),
    "other sums": (
        combine(64), combine(128),
        MismatchError, "bytes per row of x is 256 here", MismatchError, "but 256 on rank 1",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[RankPool]:
    with RankPool(WORLD, device="interpreter") as ranks:
        yield ranks


def refused(seat: Seat, name: str) -> None:
    right, wrong, error, text, others_error, others_text = WRONG[name]
    case = NormalCase(dataclasses.replace(SPEC, tokens=(2, 3, 2), routing="any"), WORLD.nodes)
    handle, _ = check_dispatch(seat, case)
    call, kind, match = right, others_error, others_text
    if seat.rank == 1:
        call, kind, match = wrong, error, text
    with pytest.raises(CrossdockError, match=match) as caught:
        call(seat.buffer, case, seat.rank, handle)
    assert caught.type is kind, caught.value
    check_dispatch(seat, case)


@pytest.mark.parametrize("name", WRONG)
def test_what_one_rank_does_wrong_is_an_error_on_all(pool: RankPool, name: str) -> None:
    pool.check(refused, name)


def seen_by_kernels(seat: Seat) -> None:
    """On a GPU the host does not look at counts; the kernel counts anew, and the host says it."""
    case = NormalCase(SPEC, WORLD.nodes)
    arguments = case.arguments(seat.rank)
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr("crossdock.ep.normal_arguments._expect_ranks", lambda *_: None)
        if seat.rank == 1:
            arguments["num_tokens_per_rank"] = arguments["num_tokens_per_rank"] + 1
            with pytest.raises(ArgumentError, match=r"num_tokens_per_rank .* wrong for rank"):
                seat.buffer.dispatch(**arguments)
        else:
            with pytest.raises(PeerArgumentError, match="rank 1 refused its arguments"):
                seat.buffer.dispatch(**arguments)
    check_normal(seat, SPEC)


def test_counts_that_are_wrong_are_found_by_the_kernel(pool: RankPool) -> None:
    pool.check(seen_by_kernels)


def choice_of_none(seat: Seat) -> None:
    """Nor at the choice of experts."""
    idx = torch.tensor([[0, 1], [6, -1]])
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr("crossdock.ep.buffer_normal.expect_choices", lambda *_: None)
        with pytest.raises(ArgumentError, match="entry 2 of topk_idx of an earlier call was"):
            seat.buffer.get_dispatch_layout(idx, 6)
    check_normal(seat, SPEC)


def test_an_index_that_is_no_expert_is_named(pool: RankPool) -> None:
    pool.check(choice_of_none)


def handle_of_a_failure(seat: Seat) -> None:
    """With num_worst_tokens a caller has the handle before anybody knows that the call failed."""
    case = NormalCase(SPEC, WORLD.nodes)
    mode = kernels_of(seat.buffer)
    with pytest.MonkeyPatch().context() as patch:
        patch.setattr(mode, "_finish", lambda *_: None)
        worst = 1 if seat.rank == 1 else 50
        x, *_, handle, _ = seat.buffer.dispatch(**case.arguments(seat.rank), num_worst_tokens=worst)
    with pytest.raises(CrossdockError):
        mode._watch.raise_if_failed()
    assert isinstance(x, torch.Tensor)
    with pytest.raises(ArgumentError, match="handle is of a dispatch that failed"):
        seat.buffer.combine(x, handle)
    check_normal(seat, SPEC)


def test_the_handle_of_a_dispatch_that_failed_is_refused(pool: RankPool) -> None:
    pool.check(handle_of_a_failure)
