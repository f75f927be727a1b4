"""What goes wrong while kernels wait: who is named, how soon, and how the others go on. In the
interpreter a kernel is over when its launch returns, so that errors come from the call itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from tests.ep.low_latency_cases import (
    LowLatencyCase,
    LowLatencySpec,
    check_combine,
    check_dispatch,
    dispatch,
)
from tests.ep.worlds import INTERPRETED, World, build, built, on_one_node
from tests.harness import PATIENCE, Died, RankContext, run_ranks
from tests.networks import NETWORK

from crossdock.ep import Buffer
from crossdock.proxy.errors import (
    Aborted,
    ArgumentError,
    CapacityError,
    CrossdockError,
    CutOff,
    DeadlineExceeded,
    DestroyedError,
    MismatchError,
    PeerLost,
)

SIZE, VICTIM = 3, 1
ROOM = (4, 128, 6)
SPEC = LowLatencySpec((2, 3, 1), 4, local_experts=2, topk=2)
SILENCE_S = 3.0 * PATIENCE
MASKING_S = 5.0  # ranks that mask wait for each other, too, and interpret their kernels meanwhile
NOTICE_S = 4.0
# Direct: ranks write into each other's memory. Staged: proxies carry all.
EACH_WAY = pytest.mark.parametrize(
    ("world", "direct"),
    [(on_one_node(SIZE, "shm", 1), True), (on_one_node(SIZE, NETWORK, 1), False)],
    ids=["direct", "staged"],
)


def interpreted(rank: RankContext, world: World, direct: bool = True, **more: Any) -> Buffer:
    torch.set_num_threads(1)
    return build(rank, world, low_latency=ROOM, device="interpreter", peer_access=direct, **more)


def round_of(buffer: Buffer, seed: int = 0, masked: Collection[int] = ()) -> None:
    tokens = SPEC.tokens[: buffer.group_size]
    case = LowLatencyCase(LowLatencySpec(tokens, 4, 128, 2, 2, seed=seed), masked)
    check_combine(buffer, case, check_dispatch(buffer, case))


def until(error: type[Exception], call: Callable[[], object]) -> Any:
    """Call until it fails in that way; the error."""

    def again_and_again() -> None:
        for _ in range(1000):
            call()

    with pytest.raises(error) as caught:
        again_and_again()
    return caught.value


# ---- ranks that are gone or silent --------------------------------------------------------------


def killed(rank: RankContext, world: World, direct: bool) -> float:
    buffer = interpreted(rank, world, direct)
    round_of(buffer)
    rank.exchange("before").all_gather(b"", 20)
    if rank.rank == VICTIM:
        os.kill(os.getpid(), signal.SIGKILL)
    start = time.monotonic()
    error = until(PeerLost, lambda: round_of(buffer))
    took = time.monotonic() - start
    assert error.rank == VICTIM, error
    assert f"rank {rank.rank}: " in str(error)
    with pytest.raises(Aborted):
        round_of(buffer)
    buffer.destroy()
    return took


@EACH_WAY
def test_a_rank_that_is_killed_is_named(world: World, direct: bool) -> None:
    took = run_ranks(killed, SIZE, world, direct, may_die={VICTIM}, environment=INTERPRETED)
    assert took[VICTIM] == Died(signal.SIGKILL)
    assert max(t for t in took if isinstance(t, float)) < NOTICE_S, took


def silent(rank: RankContext, world: World, direct: bool) -> float:
    buffer = interpreted(rank, world, direct, timeout_s=SILENCE_S)
    round_of(buffer)
    pace = rank.exchange("pace")
    pace.all_gather(b"", 20)
    took = 0.0
    if rank.rank != VICTIM:
        start = time.monotonic()
        with pytest.raises((DeadlineExceeded, PeerLost)) as caught:
            round_of(buffer)
        took = time.monotonic() - start
        error = caught.value
        if isinstance(error, DeadlineExceeded):
            assert error.missing == (VICTIM,), error
            assert "low-latency dispatch: tokens" in str(error)
        else:  # the other one was a moment faster, and says who is to blame
            assert isinstance(error, PeerLost)
            assert error.rank == VICTIM, error
    pace.all_gather(b"", 30)
    if rank.rank == VICTIM:
        with pytest.raises(CutOff, match=r"given up by rank\(s\) [02]"):
            round_of(buffer)
    buffer.destroy()
    return took


@EACH_WAY
def test_a_rank_that_does_not_call_is_named(world: World, direct: bool) -> None:
    took = run_ranks(silent, SIZE, world, direct, environment=INTERPRETED)
    assert SILENCE_S / 2 < max(took) < SILENCE_S + NOTICE_S, took


def masked(rank: RankContext, world: World, direct: bool, dies: bool) -> None:
    """Its tokens and its experts contribute nothing; who was masked is not waited for again."""
    buffer = interpreted(rank, world, direct, enable_shrink=True, timeout_s=MASKING_S)
    for seed in range(2):
        round_of(buffer, seed)
    rank.exchange("before").all_gather(b"", 20)
    if rank.rank == VICTIM:
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        rank.exchange("after").all_gather(b"", 60)
        buffer.communicator.abort()
        buffer.destroy()
        return
    for seed in range(2, 6):
        round_of(buffer, seed, {VICTIM})
    status = torch.zeros(SIZE, dtype=torch.int32)
    buffer.low_latency_query_mask_buffer(status)
    assert status.tolist() == [0, 1, 0]
    if not dies:
        rank.exchange("after").all_gather(b"", 60)
    rank.exchange("survivors", {0, 2}).all_gather(b"", 60)
    buffer.destroy()


@EACH_WAY
@pytest.mark.parametrize("dies", [True, False], ids=["killed", "silent"])
def test_a_rank_that_is_gone_is_masked(world: World, direct: bool, dies: bool) -> None:
    may_die = {VICTIM} if dies else set()
    run_ranks(masked, SIZE, world, direct, dies, may_die=may_die, environment=INTERPRETED)


# ---- what callers do wrong ----------------------------------------------------------------------

PAIR = on_one_node(2, "shm", 1)


def wrong_arguments(rank: RankContext) -> None:
    with built(rank, PAIR, low_latency=(4, 128, 4), device="interpreter") as buffer:
        case = LowLatencyCase(LowLatencySpec((2, 3), 4, local_experts=2, topk=2))
        idx = case.topk_idx[rank.rank].clone()
        x = case.x[rank.rank]
        with pytest.raises(ArgumentError, match="x is on meta, but this Buffer is for CPU tensors"):
            buffer.low_latency_dispatch(x.to("meta"), idx, 4, 4, use_fp8=False)
        with pytest.raises(CapacityError, match=r"x has . tokens, but num_max_dispatch_tokens"):
            buffer.low_latency_dispatch(x, idx, 1, 4, use_fp8=False)
        handle = check_dispatch(buffer, case)
        with pytest.raises(ArgumentError, match="zero_copy needs x to be the tensor that"):
            buffer.low_latency_combine(
                case.outputs[rank.rank], idx, case.weights[rank.rank], handle, zero_copy=True
            )
        check_combine(buffer, case, handle)
        round_of(buffer)


def test_wrong_arguments_are_refused_where_they_were_passed() -> None:
    run_ranks(wrong_arguments, 2, environment=INTERPRETED)


def wrong_index(rank: RankContext) -> None:
    """On a GPU the host does not look; the kernel does, and the host says it afterwards."""
    with built(rank, PAIR, low_latency=(4, 128, 4), device="interpreter") as buffer:
        mode = buffer._low_latency
        case = LowLatencyCase(LowLatencySpec((2, 3), 4, local_experts=2, topk=2))
        if rank.rank == 1:
            monkey = pytest.MonkeyPatch()
            monkey.setattr("crossdock.ep.low_latency_arguments.expect_topk", lambda idx, *_: idx)
            case.topk_idx[1][1, 1] = 4
            with pytest.raises(ArgumentError, match="entry 3 of topk_idx of an earlier call was"):
                dispatch(buffer, case)
            monkey.undo()
        else:
            dispatch(buffer, case)
        assert mode is buffer._low_latency
        for seed in range(3):
            round_of(buffer, seed)


def test_an_index_that_is_no_expert_is_named() -> None:
    run_ranks(wrong_index, 2, environment=INTERPRETED)


DISAGREEMENTS = {
    "hidden": LowLatencySpec((2, 3), 4, 64, 2, 2),
    "experts": LowLatencySpec((2, 3), 4, 128, 1, 2),
    "top-k": LowLatencySpec((2, 3), 4, 128, 2, 1),
    "max tokens": LowLatencySpec((2, 3), 3, 128, 2, 2),
    "format": LowLatencySpec((2, 3), 4, 128, 2, 2, format="fp8"),
}


def disagree(rank: RankContext) -> None:
    with built(rank, PAIR, low_latency=(4, 128, 4), device="interpreter") as buffer:
        for name, other in DISAGREEMENTS.items():
            spec = other if rank.rank == 1 else LowLatencySpec((2, 3), 4, 128, 2, 2)
            with pytest.raises(MismatchError, match=f"rank {1 - rank.rank} called with") as caught:
                dispatch(buffer, LowLatencyCase(spec))
            assert "must be the same on every rank" in str(caught.value), name
            buffer.clean_low_latency_buffer(4, 128, 4)
            for seed in range(2):
                round_of(buffer, seed)


def test_ranks_that_disagree_learn_it_and_go_on() -> None:
    run_ranks(disagree, 2, environment=INTERPRETED)


def third_result(rank: RankContext) -> None:
    with built(rank, PAIR, low_latency=(4, 128, 4), device="interpreter") as buffer:
        cases = [LowLatencyCase(LowLatencySpec((2, 3), 4, 128, 2, 2, seed=s)) for s in range(2)]
        handles = [check_dispatch(buffer, case) for case in cases]
        with pytest.raises(CapacityError, match="a third live low-latency result"):
            dispatch(buffer, cases[0])
        with pytest.raises(ArgumentError, match="a low-latency result is live"):
            buffer.clean_low_latency_buffer(4, 128, 4)
        for case, handle in zip(cases, handles, strict=True):
            check_combine(buffer, case, handle)
        del handles
        round_of(buffer)


def test_a_third_live_result_is_refused() -> None:
    run_ranks(third_result, 2, environment=INTERPRETED)


# ---- the end of a Buffer ------------------------------------------------------------------------


def leave_while_waiting(rank: RankContext, how: str) -> float:
    """Rank 0 waits for rank 1, which does not call, and is released by another thread."""
    buffer = interpreted(rank, PAIR, timeout_s=60.0)
    round_of(buffer)
    pace = rank.exchange("pace")
    pace.all_gather(b"", 20)
    took = 0.0
    if rank.rank == 0:
        leave = buffer.destroy if how == "destroy" else buffer.communicator.abort
        timer = threading.Timer(0.5, leave)
        timer.start()
        start = time.monotonic()
        with pytest.raises((Aborted, DestroyedError, PeerLost)):
            round_of(buffer)
        took = time.monotonic() - start
        timer.join()  # it may still be giving memory back
    pace.all_gather(b"", 30)
    if rank.rank == 1:
        with pytest.raises(CrossdockError):
            round_of(buffer)
    if not buffer.communicator.destroyed:
        buffer.destroy()
    with pytest.raises(DestroyedError):
        round_of(buffer)
    return took


@pytest.mark.parametrize("how", ["abort", "destroy"])
def test_another_thread_ends_a_wait(how: str) -> None:
    took = run_ranks(leave_while_waiting, 2, how, environment=INTERPRETED)
    assert 0.2 < took[0] < NOTICE_S, took


# ---- devices that are not there -----------------------------------------------------------------


def refused(rank: RankContext, device: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build(rank, on_one_node(1, "shm"), low_latency=(4, 128, 4), device=device)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("interpreter", "but TRITON_INTERPRET=1 was not set when Python started"),
        ("tpu", "device is 'tpu', but must be cpu, cuda, interpreter or None"),
        pytest.param(
            "cuda",
            "device is 'cuda', but PyTorch sees no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused(device: str, message: str) -> None:
    run_ranks(refused, 1, device, message, environment={"TRITON_INTERPRET": "0"})
