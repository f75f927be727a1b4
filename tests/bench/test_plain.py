"""The plain exchange, which the baselines gloo and Open MPI share, gives what is expected."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import torch
from torch import Tensor

from crossdock.bench.baselines.plain import PlainWay
from crossdock.bench.checks import count_wrong_arrivals, count_wrong_sums
from crossdock.bench.way import WayContender
from crossdock.bench.workload import (
    Dtype,
    Mode,
    Shape,
    expected_of_all,
    experts_output,
    inputs_of,
)


class Switch:
    """Where the wires of ranks that are threads meet."""

    def __init__(self, ranks: int) -> None:
        self.barrier = threading.Barrier(ranks, timeout=30)
        self.sent: dict[int, list[Tensor]] = {}


class ThreadWire:
    """An all-to-all between threads."""

    def __init__(self, switch: Switch, rank: int) -> None:
        self.switch = switch
        self.rank = rank

    def all_to_all(
        self, received: Tensor, sent: Tensor, receive: Sequence[int], send: Sequence[int]
    ) -> None:
        self.switch.sent[self.rank] = list(torch.split(sent, list(send)))
        self.switch.barrier.wait()
        parts = [self.switch.sent[source][self.rank] for source in range(len(send))]
        assert [len(part) for part in parts] == list(receive)
        received.copy_(torch.cat(parts))
        self.switch.barrier.wait()


def shape_of(mode: Mode, dtype: Dtype, ranks: int, tokens: int = 37) -> Shape:
    return Shape(mode, dtype, ranks, tokens, hidden=256, topk=3, experts=4 * ranks, seed=5)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
@pytest.mark.parametrize("mode", ["normal", "low_latency"])
def test_results_are_the_expected_ones(mode: Mode, dtype: Dtype, ranks: int) -> None:
    shape = shape_of(mode, dtype, ranks)
    expected = expected_of_all(shape)
    switch = Switch(ranks)

    def rank(number: int) -> tuple[int, int]:
        way = PlainWay("plain", ThreadWire(switch, number), shape, number)
        way.dispatch()
        right = expected[number]
        wrong_rows = count_wrong_arrivals(way.arrived(), right.arrived)
        combined = way.combine(way.output())
        return wrong_rows, count_wrong_sums(combined, right.combined, way.exact)

    with ThreadPoolExecutor(ranks) as pool:
        assert list(pool.map(rank, range(ranks))) == [(0, 0)] * ranks


def test_contender_notices_a_wrong_result() -> None:
    shape = shape_of("normal", "bf16", 1)
    expected = expected_of_all(shape)[0]
    way = PlainWay("plain", ThreadWire(Switch(1), 0), shape, 0)
    contender = WayContender(way, expected)
    for step in ("dispatch", "combine"):
        contender.prepare(step)
        interval = contender.run(step)
        assert interval.end > interval.start
        assert contender.count_wrong(step) == 0
    expected.combined[3, 0] += 1
    expected.arrived.rows[5, 7] += 1
    wrong = []
    for step in ("dispatch", "combine"):
        contender.prepare(step)
        contender.run(step)
        wrong.append(contender.count_wrong(step))
    assert wrong == [1, 1]


def test_inputs_depend_on_rank_and_seed_alone() -> None:
    shape = shape_of("normal", "fp8", 2)
    again = inputs_of(shape, 1)
    assert torch.equal(inputs_of(shape, 1).x, again.x)
    assert torch.equal(inputs_of(shape, 1).topk_idx, again.topk_idx)
    assert not torch.equal(inputs_of(shape, 0).x, again.x)
    assert not torch.equal(inputs_of(msgspec.structs.replace(shape, seed=6), 1).x, again.x)


def test_experts_of_ranks_differ() -> None:
    x = inputs_of(shape_of("normal", "bf16", 2), 0).x
    assert not torch.equal(experts_output(x, None, 0), experts_output(x, None, 1))
