"""Counts of tokens for each expert: of a window, of all ranks, and against the reference."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ep.normal_cases import NormalCase, NormalSpec
from tests.ep.pool import Seat
from tests.ep.worlds import built, on_one_node
from tests.harness import RankContext, run_ranks
from torch import Tensor

from crossdock.ep.load import LoadWindow, exact_counts, gather_load, imbalance, logical_load
from crossdock.ep.placement import place_experts, rank_loads, to_physical
from crossdock.proxy.errors import ArgumentError, CrossdockError, MismatchError

SIZE = 3


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99)), max_size=30))
def test_a_window_holds_the_last_steps_of_each_layer(
    steps: int, added: list[tuple[int, int]]
) -> None:
    window = LoadWindow(3, 2, steps)
    seen: list[list[int]] = [[], [], []]
    for layer, count in added:
        window.add(layer, [count, 2 * count])
        seen[layer].append(count)
    want = [[sum(counts[-steps:]), 2 * sum(counts[-steps:])] for counts in seen]
    assert window.total().tolist() == want
    window.clear()
    assert not window.total().any()
    window.add(1, torch.tensor([5, 6], dtype=torch.int32))
    assert window.total().tolist() == [[0, 0], [5, 6], [0, 0]]


def test_cumulative_counters_are_read_as_differences() -> None:
    window = LoadWindow(1, 2, 2)
    counter = torch.tensor([4, 0], dtype=torch.int32)
    totals = []
    for more in ([4, 0], [1, 2], [0, 5]):
        counter += torch.tensor(more, dtype=torch.int32)
        window.add_cumulative(0, counter)
        totals.append(window.total().tolist()[0])
    assert totals == [[8, 0], [9, 2], [1, 7]]
    counter.zero_()
    counter[1] = 3  # since it was set to 0
    window.add_cumulative(0, counter)
    assert window.total().tolist() == [[0, 8]]


def test_a_counter_beyond_31_bits_is_read_on() -> None:
    window = LoadWindow(1, 2, 1)
    counter = torch.tensor([2**31 - 6, 2**31 - 1], dtype=torch.int32)
    window.add_cumulative(0, counter)
    counter += torch.tensor([10, 3], dtype=torch.int32)
    assert int(counter.max()) < 0
    window.add_cumulative(0, counter)
    assert window.total().tolist() == [[10, 3]]
    counter += 7
    window.add_cumulative(0, counter)
    assert window.total().tolist() == [[7, 7]]
    counter.fill_(4)  # since it was set to 0
    window.add_cumulative(0, counter)
    assert window.total().tolist() == [[4, 4]]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.uint32, torch.uint64])
def test_counts_may_be_whole_numbers_of_any_kind(kind: torch.dtype) -> None:
    window = LoadWindow(1, 2, 1)
    window.add(0, torch.tensor([3, 4], dtype=kind))
    assert window.total().tolist() == [[3, 4]]


def test_results_do_not_change_with_the_window() -> None:
    window = LoadWindow(1, 1, 2)
    before = window.total()
    window.add(0, [7])
    assert before.tolist() == [[0]]


# ---- real ranks ---------------------------------------------------------------------------------


def count_dispatches(context: RankContext) -> list[list[int]]:
    """Two layers, three steps: the window holds the last two."""
    torch.set_num_threads(1)
    world = on_one_node(SIZE, "shm")
    with built(context, world) as buffer:
        seat = Seat(context, world, buffer)
        window = LoadWindow(2, 4, 2)
        for step in range(3):
            for layer in range(2):
                case = case_of(step, layer)
                _, idx, _, counts, _, _ = buffer.dispatch(
                    **case.arguments(seat.rank), expert_alignment=1 + 7 * layer
                )
                assert idx is not None
                assert counts is not None
                window.add(layer, exact_counts(idx, 4) if layer else counts)
        exchange = context.exchange("load")
        gathered = gather_load(window, exchange, 20.0)
        other = LoadWindow(2 + (context.rank == 1), 4, 1)
        told: CrossdockError | None = None
        try:
            gather_load(other, exchange, 20.0)
        except CrossdockError as error:
            told = error
        assert isinstance(told, MismatchError)
        assert "layers and local experts are" in str(told)
        assert torch.equal(gather_load(window, exchange, 20.0), gathered)
        return [[int(count) for count in row] for row in gathered.tolist()]


def case_of(step: int, layer: int) -> NormalCase:
    spec = NormalSpec((20, 0, 33), seed=10 * step + layer, masked=0.2)
    return NormalCase(spec, (0,) * SIZE)


def test_ranks_gather_what_the_router_chose() -> None:
    want = torch.zeros(2, 4 * SIZE, dtype=torch.int64)
    for step in (1, 2):
        for layer in range(2):
            for layout in case_of(step, layer).layouts:
                want[layer] += layout.num_tokens_per_expert
    assert run_ranks(count_dispatches, SIZE) == [want.tolist()] * SIZE


# ---- figures ------------------------------------------------------------------------------------


def test_imbalance_is_the_largest_over_the_mean() -> None:
    load = torch.tensor([[6, 0, 3, 3], [0, 0, 0, 0], [1, 1, 1, 1]])
    found = imbalance(load, 2)
    assert found.of_experts.tolist() == [2.0, 1.0, 1.0]
    assert found.of_ranks.tolist() == [1.0, 1.0, 1.0]
    assert imbalance(load, 4).of_ranks.tolist() == [2.0, 1.0, 1.0]
    assert str(found) == (
        "max/mean of experts 1.33 (worst layer 2.00), of ranks 1.00 (worst layer 1.00)"
    )


def test_imbalance_of_numbers_whose_sum_their_type_cannot_hold() -> None:
    found = imbalance(torch.tensor([[60000, 60000, 0, 0]], dtype=torch.float16), 2)
    assert found.of_experts.tolist() == [2.0]
    assert found.of_ranks.tolist() == [2.0]


def test_what_was_measured_comes_true_when_experts_have_moved() -> None:
    """Route, count, place, route the same tokens again: ranks have what was foretold."""
    generator = torch.Generator().manual_seed(1)
    skew = torch.randn(16, generator=generator) * 1.5
    noise = torch.rand((4000, 16), generator=generator)
    idx = (skew - (-noise.log()).log()).topk(2).indices
    load = torch.bincount(idx.flatten(), minlength=16)[None]
    placed = place_experts(load, 24, 1, 1, 8)
    slots = to_physical(idx, placed.logical_to_physical[0], placed.replica_counts[0])
    got = torch.bincount(slots.flatten(), minlength=24)[None]
    foretold = rank_loads(load, placed.physical_to_logical, 8)
    assert (got.view(8, 3).sum(1) - foretold[0]).abs().max() <= 3
    assert torch.equal(logical_load(got, placed.physical_to_logical), load)
    before, after = (float(imbalance(one, 8).of_ranks) for one in (load, got))
    assert before > 1.5
    assert after < 1.05


# ---- refusals -----------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "no steps": (lambda: LoadWindow(1, 1, 0), "steps is 0, but must be positive"),
    "layer": (lambda: LoadWindow(2, 1, 1).add(2, [1]), "layer is 2, but there are 2"),
    "counts": (
        lambda: LoadWindow(1, 2, 1).add(0, [1, 2, 3]),
        r"counts are torch.int64 \[3\], but must be whole numbers \[2\]",
    ),
    "fractions": (lambda: LoadWindow(1, 1, 1).add(0, torch.ones(1)), "counts are torch.float32"),
    "negative": (lambda: LoadWindow(1, 1, 1).add(0, [-1]), "counts hold -1"),
    "ranks": (lambda: imbalance(torch.ones(1, 4), 3), r"\[1, 4\], but must have .* 3 ranks"),
    "no number": (lambda: imbalance(torch.full((1, 4), math.nan), 2), "load holds nan, but"),
    "less than nothing": (lambda: imbalance(-torch.ones(1, 4), 2), "load holds -1.0, but"),
    "slots": (
        lambda: logical_load(torch.ones(1, 4), torch.zeros(1, 3, dtype=torch.int64)),
        r"load has shape \[1, 4\], but physical_to_logical \[1, 3\]",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(ArgumentError, match=message):
        call()


def test_counts_of_padded_blocks_are_exact() -> None:
    idx: Tensor = torch.tensor([[0, -1], [2, 0], [-1, -1]])
    assert exact_counts(idx, 4).tolist() == [2, 0, 1, 0]
    assert exact_counts(idx[:0], 4).tolist() == [0, 0, 0, 0]
