"""Placements hold what they promise: drawn loads, exhaustive search where it is possible."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossdock.ep.packing import pack
from crossdock.ep.placement import (
    Placement,
    in_order,
    place_experts,
    placement_of,
    rank_loads,
    rebalance_experts,
    to_physical,
)
from crossdock.proxy.errors import ArgumentError

BOUNDED = settings(max_examples=150, deadline=None)


@dataclasses.dataclass(frozen=True)
class Case:
    load: Tensor  # [layers, experts]
    slots: int
    groups: int
    nodes: int
    ranks: int

    @property
    def experts(self) -> int:
        return self.load.shape[1]

    def place(self) -> Placement:
        return place_experts(self.load, self.slots, self.groups, self.nodes, self.ranks)

    @property
    def is_hierarchical(self) -> bool:
        return self.groups % self.nodes == 0


def highest(load: Tensor, physical_to_logical: Tensor, ranks: int) -> Tensor:
    return rank_loads(load, physical_to_logical, ranks).amax(1)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    nodes = draw(st.integers(1, 3))
    ranks = nodes * draw(st.integers(1, 4))
    groups = draw(st.integers(1, 3)) * draw(st.sampled_from([1, nodes]))
    experts = groups * draw(st.integers(1, 6))
    fewest = -(-experts // ranks)
    slots = ranks * draw(st.integers(fewest, fewest + 3))
    layers = draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 31)))
    spread = draw(st.sampled_from([0.0, 1.0, 3.0]))
    noise = torch.randn((layers, experts), generator=generator, dtype=torch.float32)
    load = ((noise * spread).exp() * 100).long()
    load[torch.rand((layers, experts), generator=generator) < draw(st.sampled_from([0, 0.4]))] = 0
    return Case(load, slots, groups, nodes, ranks)


# ---- what holds for every load ------------------------------------------------------------------


@BOUNDED
@given(cases())
def test_maps_agree_and_every_expert_has_a_slot(case: Case) -> None:
    p2l, l2p, counts = case.place()
    layers = len(case.load)
    assert p2l.shape == (layers, case.slots)
    assert l2p.shape == (layers, case.experts, case.slots - case.experts + 1)
    assert counts.shape == (layers, case.experts)
    assert p2l.dtype == l2p.dtype == counts.dtype == torch.int64
    for layer in range(layers):
        slots: list[list[int]] = [[] for _ in range(case.experts)]
        for slot, expert in enumerate(p2l[layer].tolist()):
            slots[expert].append(slot)
        assert all(slots)
        for expert, mine in enumerate(slots):
            assert counts[layer, expert] == len(mine)
            padding = [-1] * (l2p.shape[2] - len(mine))
            assert l2p[layer, expert].tolist() == mine + padding


@BOUNDED
@given(cases())
def test_replicas_are_on_different_ranks_where_possible(case: Case) -> None:
    p2l = case.place().physical_to_logical
    domains, of = (case.nodes, case.nodes) if case.is_hierarchical else (1, 1)
    slots, ranks, experts = case.slots // domains, case.ranks // domains, case.experts // of
    if slots > experts * ranks or slots // ranks > experts:
        return  # more slots than different ranks
    for row in p2l.reshape(-1, case.slots // case.ranks).tolist():
        assert len(set(row)) == len(row)


@BOUNDED
@given(cases())
def test_never_worse_than_the_experts_in_their_order(case: Case) -> None:
    got = highest(case.load, case.place().physical_to_logical, case.ranks)
    nodes = case.nodes if case.is_hierarchical else 1
    simple = in_order(case.experts, case.slots, nodes).expand(len(case.load), -1)
    assert (got <= highest(case.load, simple, case.ranks) * (1 + 1e-9)).all()
    if case.slots == case.experts:
        identity = torch.arange(case.experts).expand(len(case.load), -1)
        assert (got <= highest(case.load, identity, case.ranks) * (1 + 1e-9)).all()


@BOUNDED
@given(cases())
def test_groups_stay_together_on_a_node(case: Case) -> None:
    if not case.is_hierarchical:
        return
    size = case.experts // case.groups
    for row in case.place().physical_to_logical.tolist():
        share = case.slots // case.nodes
        nodes = [set(row[n * share : (n + 1) * share]) for n in range(case.nodes)]
        for node in nodes:
            groups = {expert // size for expert in node}
            assert len(groups) == case.groups // case.nodes
            assert node == {g * size + i for g in groups for i in range(size)}


@BOUNDED
@given(cases())
def test_the_same_load_gives_the_same_placement(case: Case) -> None:
    first, again = case.place(), case.place()
    eplb = rebalance_experts(case.load.float(), case.slots, case.groups, case.nodes, case.ranks)
    for mine, other, theirs in zip(first, again, eplb, strict=True):
        assert torch.equal(mine, other)
        assert torch.equal(mine, theirs)


# ---- against exhaustive search ------------------------------------------------------------------


def fillings(left: tuple[int, ...], ranks: int, slots: int) -> Iterator[list[tuple[int, ...]]]:
    """Every way to put ``left[e]`` replicas of each expert on ranks; ranks are alike."""
    if ranks == 0:
        yield []
        return
    items = [expert for expert, count in enumerate(left) for _ in range(count)]
    for chosen in sorted(set(itertools.combinations(items, slots))):
        if chosen[0] != items[0]:
            continue  # the first that is left goes to this rank: the others are alike
        rest = tuple(count - chosen.count(expert) for expert, count in enumerate(left))
        for others in fillings(rest, ranks - 1, slots):
            yield [chosen, *others]


def least_highest(load: list[float], slots: int, ranks: int) -> float:
    """Over all numbers of replicas and all ways to place them."""
    best = float("inf")
    spare = slots - len(load)
    for more in itertools.combinations_with_replacement(range(len(load)), spare):
        counts = tuple(1 + more.count(expert) for expert in range(len(load)))
        for filling in fillings(counts, ranks, slots // ranks):
            sums = (sum(load[expert] / counts[expert] for expert in held) for held in filling)
            best = min(best, max(sums))
    return best


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_within_four_thirds_of_the_best_there_is(data: st.DataObject) -> None:
    ranks, slots = data.draw(st.sampled_from([(2, 2), (2, 4), (2, 6), (3, 3), (3, 6), (4, 4)]))
    experts = data.draw(st.integers(max(1, slots - 2), slots))
    load = data.draw(st.lists(st.integers(0, 60), min_size=experts, max_size=experts))
    p2l = place_experts(torch.tensor([load]), slots, 1, 1, ranks).physical_to_logical
    got = float(highest(torch.tensor([load]), p2l, ranks))
    best = least_highest([float(x) for x in load], slots, ranks)
    assert got <= best * 4 / 3 + 1e-9, (got, best)


def test_a_case_by_hand() -> None:
    load = torch.tensor([[90, 40, 30, 20, 10, 10]])
    placed = place_experts(load, 8, 1, 1, 2)
    # 90 / 2 + 40 + 10 + 10 / 2 and 90 / 2 + 30 + 20 + 10 / 2: the second spare slot is worth more
    # to a light expert, whose halves fill up both ranks.
    assert placed.replica_counts.tolist() == [[2, 1, 1, 1, 2, 1]]
    assert rank_loads(load, placed.physical_to_logical, 2).tolist() == [[100.0, 100.0]]


def test_a_light_expert_takes_a_slot_that_nobody_needs() -> None:
    # Halves of a heavy one would share their ranks with the other heavy one: 1.5.
    placed = place_experts(torch.tensor([[1, 0, 1]]), 4, 1, 1, 2)
    assert placed.replica_counts.tolist() == [[1, 2, 1]]


def test_exchanges_mend_what_heaviest_first_leaves() -> None:
    # Heaviest first gives 3 + 2 + 2 and 3 + 2 + 0.
    load = torch.tensor([[3, 3, 2, 2, 2, 0]])
    placed = place_experts(load, 6, 1, 1, 2)
    assert rank_loads(load, placed.physical_to_logical, 2).tolist() == [[6.0, 6.0]]


@BOUNDED
@given(st.integers(2, 5), st.integers(1, 5), st.data())
def test_packing_finds_room_for_any_numbers_of_replicas(
    ranks: int, slots: int, data: st.DataObject
) -> None:
    counts: list[int] = []
    while (left := ranks * slots - sum(counts)) > 0:
        counts.append(data.draw(st.integers(1, min(left, ranks))))
    loads = data.draw(st.lists(st.floats(0, 9), min_size=len(counts), max_size=len(counts)))
    held = pack(np.array(loads), np.array(counts), ranks)
    assert all(len(set(mine)) == len(mine) == slots for mine in held)
    assert np.bincount(np.concatenate(held)).tolist() == counts


def test_one_heavy_expert_is_spread_over_all_ranks_and_no_further() -> None:
    load = torch.tensor([[1000, 1, 1, 1, 1]])
    placed = place_experts(load, 12, 1, 1, 4)
    assert placed.replica_counts[0, 0] == 4
    assert rank_loads(load, placed.physical_to_logical, 4).amax() < 253


# ---- keeping what is there ----------------------------------------------------------------------


def slots_that_changed(old: Tensor, new: Tensor) -> int:
    return int((old != new).sum())


@BOUNDED
@given(cases(), st.integers(0, 1 << 31))
def test_experts_that_may_stay_do(case: Case, seed: int) -> None:
    old = case.place().physical_to_logical
    arguments = (case.slots, case.groups, case.nodes, case.ranks)
    # The same load, and one that differs little: nobody moves.
    for load in (case.load, case.load * 1000 + (case.load > 0)):
        kept = place_experts(load, *arguments, current=old, tolerance=0.1)
        assert torch.equal(kept.physical_to_logical, old)
    generator = torch.Generator().manual_seed(seed)
    load = torch.randint(0, 1000, case.load.shape, generator=generator)
    free = place_experts(load, *arguments)
    near = place_experts(load, *arguments, current=old, tolerance=0.1).physical_to_logical
    got, best = (highest(load, p, case.ranks) for p in (near, free.physical_to_logical))
    assert (got * 0.9 <= best * (1 + 1e-9)).all()
    for layer in range(len(load)):
        if torch.equal(near[layer], old[layer]):
            continue
        # Not another placement, but the same under other numbers of ranks and slots.
        assert torch.allclose(got[layer], best[layer])
        both = [
            p.view(case.ranks, -1).sort(1).values.tolist() for p in (near[layer], free[0][layer])
        ]
        assert sorted(both[0]) == sorted(both[1])


def test_fewer_experts_move_than_without_a_memory() -> None:
    generator = torch.Generator().manual_seed(4)
    load = (torch.randn((20, 64), generator=generator).exp() * 1000).long()
    old = place_experts(load, 72, 8, 2, 8).physical_to_logical
    later = (load * (1 + 0.5 * torch.rand(load.shape, generator=generator))).long()
    free = place_experts(later, 72, 8, 2, 8).physical_to_logical
    near = place_experts(later, 72, 8, 2, 8, current=old, tolerance=0.0).physical_to_logical
    kept = place_experts(later, 72, 8, 2, 8, current=old, tolerance=0.2).physical_to_logical
    assert torch.allclose(highest(later, near, 8), highest(later, free, 8))
    moved = [slots_that_changed(old, new) for new in (kept, near, free)]
    assert moved[0] < moved[1] < 0.8 * moved[2], moved


# ---- from logical to physical -------------------------------------------------------------------


@BOUNDED
@given(cases(), st.integers(0, 60), st.integers(1, 6), st.integers(0, 9), st.integers(0, 1 << 31))
def test_tokens_take_the_replicas_in_turn(
    case: Case, tokens: int, topk: int, start: int, seed: int
) -> None:
    p2l, l2p, counts = case.place()
    generator = torch.Generator().manual_seed(seed)
    idx = torch.randint(-1, case.experts, (tokens, topk), generator=generator)
    got = to_physical(idx, l2p[0], counts[0], start)
    assert got.dtype == torch.int64
    assert torch.equal(to_physical(idx.int(), l2p[0], counts[0], start), got)
    turn = [start] * case.experts
    for chosen, slot in zip(idx.flatten().tolist(), got.flatten().tolist(), strict=True):
        if chosen < 0:
            assert slot == -1
            continue
        assert p2l[0, slot] == chosen
        assert slot == l2p[0, chosen, turn[chosen] % int(counts[0, chosen])]
        turn[chosen] += 1


# ---- refusals -----------------------------------------------------------------------------------

LOAD = torch.ones(2, 6)
CURRENT = in_order(6, 8).repeat(2, 1)
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "load": (lambda: place_experts(LOAD[0], 6, 1, 1, 2), r"load is \[6\], but must be a tensor"),
    "no load": (lambda: place_experts(LOAD[:0], 6, 1, 1, 2), r"load is \[0, 6\]"),
    "negative": (lambda: place_experts(-LOAD, 6, 1, 1, 2), "load holds -1.0, but"),
    "infinite": (lambda: place_experts(LOAD / 0, 6, 1, 1, 2), "load holds inf"),
    "too large to be added up": (
        lambda: place_experts(LOAD.double() * 1e308, 6, 1, 1, 2),
        r"load holds 1e\+308, too much for a sum",
    ),
    "load of other layers": (
        lambda: rank_loads(LOAD, CURRENT[:1], 2),
        r"load has shape \[2, 6\], but physical_to_logical \[1, 8\]",
    ),
    "slots that ranks cannot share": (
        lambda: rank_loads(LOAD, CURRENT, 3),
        "8 slots cannot be shared equally by 3 ranks",
    ),
    "few slots": (lambda: place_experts(LOAD, 4, 1, 1, 2), "num_slots is 4, but 6 experts"),
    "slots": (lambda: place_experts(LOAD, 7, 1, 1, 2), "num_slots is 7, .* multiple of 2 ranks"),
    "ranks": (lambda: place_experts(LOAD, 6, 1, 2, 3), "num_ranks is 3, .* multiple of 2 nodes"),
    "groups": (lambda: place_experts(LOAD, 6, 4, 1, 2), "experts: 6, .* multiple of 4 groups"),
    "no ranks": (lambda: place_experts(LOAD, 6, 1, 1, 0), "num_ranks is 0, but must be positive"),
    "tolerance": (
        lambda: place_experts(LOAD, 6, 1, 1, 2, tolerance=2),
        "tolerance is 2, but must be between 0 and 1",
    ),
    "current of other slots": (
        lambda: place_experts(LOAD, 6, 1, 1, 2, current=CURRENT),
        r"current is torch.int64 \[2, 8\], but must be int64 \[2, 6\]",
    ),
    "current of other experts": (
        lambda: place_experts(LOAD, 8, 1, 1, 2, current=CURRENT + 1),
        "current holds 1 to 6, but experts are 0 to 5",
    ),
    "current without an expert": (
        lambda: place_experts(LOAD, 8, 1, 1, 2, current=CURRENT.clamp(max=4)),
        "current has no slot for expert 5 in layer 0",
    ),
    "a map without an expert": (
        lambda: placement_of(torch.tensor([[0, 1, 1]]), 3),
        "expert 2 has no slot in layer 0",
    ),
    "order": (lambda: in_order(6, 7, 2), "num_slots is 7, but must be a positive multiple of 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(ArgumentError, match=message):
        call()
