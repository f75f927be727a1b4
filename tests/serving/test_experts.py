"""Tokens go to the ranks of their experts only, and what comes back is the sum over all of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch
from tests.harness import Died, RankContext, run_ranks

from crossdock.serving.experts import ExpertParallel, Received, compacted

EXPERTS, TOPK, HIDDEN = 8, 4, 32
_TOLERANCE = {torch.float32: 1e-5, torch.float16: 0.02, torch.bfloat16: 0.05}


def _ignore(text: str) -> None:
    """Nobody dies in most tests; an exception in the thread that watches would be lost."""
    print(f"nobody died, but: {text}", flush=True)
    os._exit(1)


def _tokens(rank: int, count: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(rank)
    hidden = torch.randn(count, HIDDEN, generator=generator).to(dtype)
    ids = torch.rand(count, EXPERTS, generator=generator).argsort(1)[:, :TOPK].to(torch.int32)
    return hidden, ids, torch.rand(count, TOPK, generator=generator)


def _expert(number: int, rows: torch.Tensor) -> torch.Tensor:
    return rows.float() * (number + 1)


def _applied(
    hidden: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, first: int
) -> torch.Tensor:
    """What experts of a rank return for tokens; ``first`` is the number of its first."""
    out = torch.zeros(hidden.shape, dtype=torch.float32)
    for slot in range(ids.shape[1]):
        for local in range(EXPERTS):
            at = ids[:, slot] == local
            out[at] += weights[at, slot, None].float() * _expert(first + local, hidden[at])
    return out.to(hidden.dtype)


def exchange(rank: RankContext, counts: list[int], compact: bool) -> list[int]:
    """A dispatch and a combine in each dtype; the numbers of tokens that came."""
    experts = ExpertParallel(rank.exchange(), EXPERTS, _ignore)
    local = EXPERTS // rank.size
    came = []
    for dtype, tolerance in _TOLERANCE.items():
        hidden, ids, weights = _tokens(rank.rank, counts[rank.rank], dtype)
        received = experts.dispatch(hidden, ids, weights)
        came.append(received.hidden.shape[0])
        assert received.hidden.dtype == dtype
        given = compacted(received) if compact else (received.ids, received.weights)
        if compact and given[0].numel():
            assert 0 <= int(given[0].min()) <= int(given[0].max()) < local
        outputs = _applied(received.hidden, *given, rank.rank * local)
        combined = experts.combine(received, outputs)
        dense = _applied(hidden.float(), ids, weights, 0)
        torch.testing.assert_close(combined.float(), dense, atol=tolerance, rtol=tolerance)
    experts.destroy()
    return came


@pytest.mark.parametrize("counts", [[13, 7], [5, 0], [0, 0], [9, 4, 6, 1]], ids=str)
def test_sum_over_all_experts(counts: list[int]) -> None:
    run_ranks(exchange, len(counts), counts, True)


def test_tokens_come_only_where_an_expert_of_theirs_is() -> None:
    counts = [40, 40, 40, 40]
    came = run_ranks(exchange, 4, counts, False)
    local = EXPERTS // 4
    owners = [_tokens(rank, 40, torch.float32)[1] // local for rank in range(4)]
    for rank in range(4):
        expected = sum(int((owner == rank).any(1).sum()) for owner in owners)
        assert came[rank] == [expected] * len(_TOLERANCE)
        assert expected < 160


def from_what_engines_hold(rank: RankContext) -> None:
    """Choices that are a part of a wider table, and another device for what names none."""
    experts = ExpertParallel(rank.exchange(), EXPERTS, _ignore)
    hidden, ids, weights = _tokens(rank.rank, 9, torch.float32)
    wide = torch.cat([ids, ids], dim=1).long()[:, :TOPK]
    heavy = torch.cat([weights, weights], dim=1)[:, :TOPK]
    assert not wide.is_contiguous()
    with torch.device("meta"):
        received = experts.dispatch(hidden, wide, heavy)
    outputs = _applied(received.hidden, received.ids, received.weights, rank.rank * EXPERTS // 2)
    with torch.device("meta"):
        combined = experts.combine(received, outputs)
    dense = _applied(hidden, ids, weights, 0)
    torch.testing.assert_close(combined, dense, atol=1e-5, rtol=1e-5)
    experts.destroy()


def test_any_strides_and_any_default_device() -> None:
    run_ranks(from_what_engines_hold, 2)


def test_compacted_names_only_experts_that_a_token_has_chosen() -> None:
    ids = torch.tensor([[-1, 2, -1, 0], [3, -1, -1, -1]])
    weights = torch.tensor([[0.0, 0.2, 0.0, 0.4], [0.3, 0.0, 0.0, 0.0]])
    handle: object = None
    given = Received(torch.zeros(2, 4), ids, weights, handle)  # type: ignore[arg-type]
    narrow_ids, narrow_weights = compacted(given)
    assert narrow_ids.tolist() == [[2, 0], [3, 3]]
    torch.testing.assert_close(narrow_weights, torch.tensor([[0.2, 0.4], [0.3, 0.0]]))


def die_while_the_other_is_elsewhere(rank: RankContext) -> tuple[float, str]:
    """Rank 1 dies; rank 0 makes no call at all, as if it were in a collective of the engine."""
    reports: list[tuple[float, str]] = []
    say: Callable[[str], None] = lambda text: reports.append((time.monotonic(), text))  # noqa: E731
    experts = ExpertParallel(rank.exchange(), EXPERTS, say)
    rank.exchange("built").all_gather(b"", 10)
    start = time.monotonic()
    if rank.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while not reports and time.monotonic() < start + 10:
        time.sleep(0.01)
    assert len(reports) == 1
    experts.destroy()
    return reports[0][0] - start, reports[0][1]


def leave_first(rank: RankContext) -> None:
    """Rank 1 leaves in peace, and its process ends while rank 0 stays."""
    experts = ExpertParallel(rank.exchange(), EXPERTS, _ignore)
    rank.exchange("built").all_gather(b"", 10)
    time.sleep(1.5 if rank.rank == 0 else 0)
    experts.destroy()


def test_who_leaves_in_peace_is_not_reported() -> None:
    run_ranks(leave_first, 2)


def test_a_death_is_reported_without_a_call() -> None:
    (seconds, text), died = run_ranks(die_while_the_other_is_elsewhere, 2, may_die=[1])
    assert died == Died(signal.SIGKILL)
    assert "rank 1 has died" in text
    assert seconds < 5
