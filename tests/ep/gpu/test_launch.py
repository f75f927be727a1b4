"""What is handed to the kernels of the low-latency mode, seen in Triton's interpreter."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.ep.gpu.lives import SIZE, SPEC, device_of, interpreted, round_of
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_combine, check_dispatch
from tests.ep.worlds import INTERPRETED, build, on_one_node
from tests.harness import RankContext, run_ranks
from triton.runtime.interpreter import GridExecutor

from crossdock.ep.gpu import launch
from crossdock.ep.gpu.platform import InterpreterPlatform
from crossdock.ep.gpu.side import Side
from crossdock.proxy.errors import ArgumentError

MANY = LowLatencySpec((6, 5, 4), 6, 128, local_experts=2, topk=32, routing="any", statistics=True)


@contextlib.contextmanager
def patched() -> Iterator[pytest.MonkeyPatch]:
    patch = pytest.MonkeyPatch()
    yield patch
    patch.undo()


def what_kernels_use(rank: RankContext) -> None:
    """The caller may give it back before they have ended: the stream beside must know it."""
    buffer = interpreted(rank)
    device = device_of(buffer)
    known = {device.view.data_ptr(), device.state.data_ptr()}
    behind, run = Side.behind, GridExecutor.__call__

    def noted(side: Side, *given: torch.Tensor | None) -> Any:
        known.update(one.untyped_storage().data_ptr() for one in given if one is not None)
        return behind(side, *given)

    def watched(self: GridExecutor, *args: Any, **kwargs: Any) -> None:
        for one in args:
            if isinstance(one, torch.Tensor):
                assert one.untyped_storage().data_ptr() in known, f"{self.fn} uses {one.shape}"
        run(self, *args, **kwargs)

    spec = dataclasses.replace(SPEC, dispatch_way="async", combine_way="async", statistics=True)
    with patched() as patch:
        patch.setattr(Side, "behind", noted)
        patch.setattr(GridExecutor, "__call__", watched)
        case = LowLatencyCase(spec)
        check_combine(buffer, case, check_dispatch(buffer, case))
    buffer.destroy()


def test_the_stream_beside_knows_all_that_its_kernels_use() -> None:
    run_ranks(what_kernels_use, SIZE, environment=INTERPRETED)


def one_after_another(rank: RankContext) -> list[str]:
    """Which streams wait for which, and when kernels run, in a round whose event nobody waits for,
    and one with hooks."""
    buffer = interpreted(rank)
    behind, run = Side.behind, GridExecutor.__call__
    seen: list[str] = []

    def noted(side: Side, *given: torch.Tensor | None) -> Any:
        seen.append("beside")
        return behind(side, *given)

    def watched(self: GridExecutor, *args: Any, **kwargs: Any) -> None:
        if seen[-1] != "kernels":
            seen.append("kernels")
        run(self, *args, **kwargs)

    with patched() as patch:
        patch.setattr(Side, "behind", noted)
        patch.setattr(Side, "join", lambda side: seen.append("joined"))
        patch.setattr(GridExecutor, "__call__", watched)
        for ways in (("async", "plain"), ("hook", "plain")):
            spec = dataclasses.replace(SPEC, dispatch_way=ways[0], combine_way=ways[1])
            case = LowLatencyCase(spec)
            check_combine(buffer, case, check_dispatch(buffer, case))
    buffer.destroy()
    return seen


def test_calls_follow_one_another_whichever_stream_they_are_on() -> None:
    beside, here = ["beside", "kernels"], ["joined", "kernels"]
    for seen in run_ranks(one_after_another, SIZE, environment=INTERPRETED):
        assert seen == beside + here + here + here + here


def odd_rows(rank: RankContext) -> None:
    """Kernels read rows 16 bytes at a time, and experts may leave theirs anywhere."""
    buffer = interpreted(rank)
    give_back = launch.Launcher.give_back
    addresses: list[int] = []

    def seen(self: launch.Launcher, begun: Any, x: torch.Tensor, use_logfmt: bool) -> None:
        addresses.append(x.data_ptr() % 16)
        give_back(self, begun, x, use_logfmt)

    combine = buffer.low_latency_combine

    def shifted(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        odd = torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view(x.shape).copy_(x)
        assert odd.data_ptr() % 16 == 2
        return combine(odd, *args, **kwargs)

    with patched() as patch:
        patch.setattr(launch.Launcher, "give_back", seen)
        patch.setattr(buffer, "low_latency_combine", shifted)
        round_of(buffer)
    assert addresses == [0]
    buffer.destroy()


def test_rows_of_experts_are_read_from_where_they_can_be() -> None:
    run_ranks(odd_rows, SIZE, environment=INTERPRETED)


def logfmt_in_a_graph(rank: RankContext, known: bool) -> None:
    """Nothing can be copied to the device while a graph is captured: not the table of LogFMT."""
    buffer = interpreted(rank)
    if known:
        round_of(buffer)
    case = LowLatencyCase(dataclasses.replace(SPEC, returned="logfmt"))
    with patched() as patch:
        patch.setattr(InterpreterPlatform, "is_capturing", lambda platform: True)
        patch.setattr(launch, "_log2_table", lambda device: pytest.fail("copied"))
        dispatched = check_dispatch(buffer, case)
        if known:
            check_combine(buffer, case, dispatched)
        else:
            with pytest.raises(ArgumentError, match="dispatch once with this shape before"):
                check_combine(buffer, case, dispatched)
    buffer.communicator.abort()


@pytest.mark.parametrize("known", [True, False])
def test_logfmt_in_a_graph(known: bool) -> None:
    run_ranks(logfmt_in_a_graph, SIZE, known, environment=INTERPRETED)


def few_at_once(rank: RankContext, tile: int) -> None:
    """As with so many ranks and tokens that a program looks through them in several turns."""
    with patched() as patch:
        patch.setattr(launch, "TILE", tile)
        world = on_one_node(rank.size, "shm", 1)
        buffer = build(rank, world, low_latency=(6, 128, 6), device="interpreter")
        case = LowLatencyCase(MANY)
        check_combine(buffer, case, check_dispatch(buffer, case))
        buffer.destroy()


@pytest.mark.parametrize("tile", [128, 512])
def test_rows_find_their_places_in_several_turns(tile: int) -> None:
    """Of one rank and 4 tokens, and of two ranks."""
    run_ranks(few_at_once, len(MANY.tokens), tile, environment=INTERPRETED)
