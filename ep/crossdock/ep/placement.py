"""Which rank holds which expert, so that ranks have equally much to do.

An expert that the router names is *logical*; a slot that holds its weights is *physical*. Ranks
have equally many slots, those of rank 0 first. Heavy experts get several. ``to_physical`` turns
what the router chose into what ``Buffer`` is given.

The maps have the shapes of DeepSeek's EPLB; ``rebalance_experts`` takes its arguments.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import torch

from crossdock.ep.packing import Loads, Numbers, arrange_like, pack, place
from crossdock.ep.tensors import expect_whole
from crossdock.proxy.errors import ArgumentError


class Placement(NamedTuple):
    """Where the experts of each layer are."""

    physical_to_logical: torch.Tensor
    """int64 [layers, slots]."""
    logical_to_physical: torch.Tensor
    """int64 [layers, experts, slots - experts + 1]: the slots of an expert, ascending, then -1."""
    replica_counts: torch.Tensor
    """int64 [layers, experts]."""


class _Shape(NamedTuple):
    experts: int
    slots: int
    groups: int
    nodes: int
    ranks: int


def rebalance_experts(
    weight: torch.Tensor, num_replicas: int, num_groups: int, num_nodes: int, num_gpus: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``place_experts`` under the name, and with the arguments, that EPLB has for it."""
    return place_experts(weight, num_replicas, num_groups, num_nodes, num_gpus)


def place_experts(
    load: torch.Tensor,
    num_slots: int,
    num_groups: int,
    num_nodes: int,
    num_ranks: int,
    *,
    current: torch.Tensor | None = None,
    tolerance: float = 0.05,
) -> Placement:
    """A placement in which the most loaded rank has little more than the others.

    Hierarchical where ``num_groups`` is a multiple of ``num_nodes``: whole groups of experts go to
    nodes, equally many to each, and an expert's replicas stay on its node, so that a router that is
    limited to some groups of a token sends it to few nodes. Else global, as if there were one node.
    Then heavy experts get the replicas, and replicas are packed onto ranks, those of one expert on
    different ranks as long as it has no more than there are ranks.

    The result is never worse, by the load of the most loaded rank, than experts in their order
    (``in_order``). Ranks of one node have following numbers.

    Args:
        load: [layers, experts] of any type, such as the counts of ``crossdock.ep.load``; not
            negative.
        num_slots: of all ranks together; a multiple of ``num_ranks``, at least the experts.
        num_groups: into which the experts are divided, in their order.
        num_nodes: over which the ranks are spread equally.
        num_ranks: of all nodes.
        current: int64 [layers, slots], where the experts are. A layer whose most loaded rank would
            get lighter by no more than ``tolerance`` of its load stays as it is; in the others the
            ranks and slots are named so that many experts stay where they are.
        tolerance: between 0 and 1.

    Raises:
        ArgumentError: sizes do not divide, or a tensor has another shape.
    """
    shape = _checked_shape(load, num_slots, num_groups, num_nodes, num_ranks)
    loads = _checked_load(load)
    before = None if current is None else _checked_current(current, shape, len(loads))
    if not 0 <= tolerance <= 1:
        raise ArgumentError(f"tolerance is {tolerance}, but must be between 0 and 1")
    rows = []
    for layer, row in enumerate(loads):
        old = None if before is None else before[layer]
        rows.append(_layer(row, shape, old, tolerance))
    return placement_of(torch.from_numpy(np.stack(rows)), shape.experts)


def in_order(num_experts: int, num_slots: int, num_nodes: int = 1) -> torch.Tensor:
    """The placement that needs no load: each node has its share of the experts in their order, and
    begins with them again where it has slots left.

    Returns:
        int64 [slots].
    """
    for name, count in (("num_experts", num_experts), ("num_slots", num_slots)):
        if count < 1 or num_nodes < 1 or count % num_nodes:
            raise ArgumentError(
                f"{name} is {count}, but must be a positive multiple of {num_nodes} nodes"
            )
    return torch.from_numpy(_in_order(num_experts, num_slots, num_nodes))


def placement_of(physical_to_logical: torch.Tensor, num_experts: int) -> Placement:
    """The other maps for int64 [layers, slots] in which every expert has a slot."""
    layers, slots = physical_to_logical.shape
    counts = torch.zeros((layers, num_experts), dtype=torch.int64)
    counts.scatter_add_(1, physical_to_logical, torch.ones_like(physical_to_logical))
    missing = (counts == 0).nonzero()
    if len(missing):
        layer, expert = missing[0].tolist()
        raise ArgumentError(f"expert {expert} has no slot in layer {layer}")
    where = torch.full((layers, num_experts, slots - num_experts + 1), -1, dtype=torch.int64)
    order = physical_to_logical.argsort(dim=1, stable=True)
    first = counts.cumsum(1) - counts
    experts = physical_to_logical.gather(1, order)
    nth = torch.arange(slots).expand(layers, slots) - first.gather(1, experts)
    where[torch.arange(layers)[:, None], experts, nth] = order
    return Placement(physical_to_logical, where, counts)


def rank_loads(
    load: torch.Tensor, physical_to_logical: torch.Tensor, num_ranks: int
) -> torch.Tensor:
    """What each rank has to do when the replicas of an expert share its load equally.

    Args:
        load: [layers, experts].
        physical_to_logical: int64 [layers, slots].

    Returns:
        float64 [layers, ranks].
    """
    slots = list(physical_to_logical.shape)
    if len(slots) != 2 or load.dim() != 2 or len(load) != slots[0]:
        raise ArgumentError(
            f"load has shape {list(load.shape)}, but physical_to_logical {slots}; they must be "
            "[layers, experts] and [layers, slots]"
        )
    if num_ranks < 1 or slots[1] % num_ranks:
        raise ArgumentError(f"{slots[1]} slots cannot be shared equally by {num_ranks} ranks")
    placement = placement_of(physical_to_logical, load.shape[1])
    share = load.to(torch.float64) / placement.replica_counts
    of_slots = share.gather(1, physical_to_logical)
    return of_slots.view(len(of_slots), num_ranks, -1).sum(2)


def to_physical(
    topk_idx: torch.Tensor,
    logical_to_physical: torch.Tensor,
    replica_counts: torch.Tensor,
    start: int = 0,
) -> torch.Tensor:
    """The slots of the chosen experts: the tokens of an expert take its replicas in turn.

    Args:
        topk_idx: [tokens, topk] of logical experts, -1 for none, which stays.
        logical_to_physical: int64 [experts, any], of one layer of a ``Placement``.
        replica_counts: int64 [experts], likewise.
        start: which replica comes first. With the number of the rank, ranks with few tokens do not
            all choose the first.

    Returns:
        int64 [tokens, topk], on the device of ``topk_idx``; the maps must be there, too.
    """
    flat = topk_idx.flatten().to(torch.int64)
    order = flat.argsort(stable=True)
    experts = flat[order]
    # An expert's first place among the sorted: the turn is how far a choice is behind it.
    turn = torch.arange(len(flat), device=flat.device) - torch.searchsorted(experts, experts)
    known = experts.clamp(min=0)
    replica = (turn + start) % replica_counts[known]
    slots = torch.where(experts < 0, -1, logical_to_physical[known, replica])
    return torch.empty_like(flat).index_copy(0, order, slots).view_as(topk_idx)


# ---- one layer ----------------------------------------------------------------------------------


def _layer(loads: Loads, shape: _Shape, current: Numbers | None, tolerance: float) -> Numbers:
    placed = _packed(loads, shape)
    simple = _in_order(shape.experts, shape.slots, shape.nodes)
    if _highest(loads, simple, shape) <= _highest(loads, placed, shape):
        placed = simple
    if current is None:
        return placed
    was, would_be = (_highest(loads, one, shape) for one in (current, placed))
    if would_be >= was * (1 - tolerance):
        return current
    return arrange_like(placed, current, shape.ranks, shape.nodes)


def _packed(loads: Loads, shape: _Shape) -> Numbers:
    """[slots]: groups to nodes, replicas to experts, replicas to the ranks of the node."""
    members = np.arange(shape.experts).reshape(shape.groups, -1)
    of_groups = loads[members].sum(1)
    ones = np.ones(shape.groups, dtype=np.int64)
    slots, ranks = shape.slots // shape.nodes, shape.ranks // shape.nodes
    rows = []
    for groups in pack(of_groups, ones, shape.nodes):
        experts = members[groups].ravel()
        rows += [experts[held] for held in place(loads[experts], slots, ranks)]
    return np.concatenate(rows)


def _in_order(experts: int, slots: int, nodes: int) -> Numbers:
    share = np.arange(slots // nodes) % (experts // nodes)
    first = np.arange(nodes)[:, None] * (experts // nodes)
    row: Numbers = (first + share).ravel()
    return row


def _highest(loads: Loads, placed: Numbers, shape: _Shape) -> float:
    share = loads / np.bincount(placed, minlength=shape.experts)
    # Each rank in the order of its experts, so that the same ones always have the same sum.
    of_ranks = share[np.sort(placed.reshape(shape.ranks, -1), axis=1)].sum(1)
    return float(of_ranks.max())


# ---- checks -------------------------------------------------------------------------------------


def _checked_shape(load: torch.Tensor, slots: int, groups: int, nodes: int, ranks: int) -> _Shape:
    if not isinstance(load, torch.Tensor) or load.dim() != 2 or not load.numel():
        have = list(load.shape) if isinstance(load, torch.Tensor) else type(load).__name__
        raise ArgumentError(f"load is {have}, but must be a tensor [layers, experts]")
    experts = load.shape[1]
    for name, count in (
        ("num_slots", slots),
        ("num_groups", groups),
        ("num_nodes", nodes),
        ("num_ranks", ranks),
    ):
        if expect_whole(name, count) < 1:
            raise ArgumentError(f"{name} is {count}, but must be positive")
    for name, count, part, parts in (
        ("load has experts:", experts, groups, "groups"),
        ("num_ranks is", ranks, nodes, "nodes"),
        ("num_slots is", slots, ranks, "ranks"),
    ):
        if count % part:
            raise ArgumentError(f"{name} {count}, but must be a multiple of {part} {parts}")
    if slots < experts:
        raise ArgumentError(f"num_slots is {slots}, but {experts} experts need one each")
    if groups % nodes:
        groups, nodes = 1, 1  # groups cannot be shared out: global
    return _Shape(experts, slots, groups, nodes, ranks)


def _checked_load(load: torch.Tensor) -> Loads:
    loads: Loads = load.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(loads).all() or (loads < 0).any():
        wrong = loads[~np.isfinite(loads) | (loads < 0)][0]
        raise ArgumentError(f"load holds {wrong}, but must hold finite numbers of at least 0")
    highest = float(loads.max())
    if highest > sys.float_info.max / (2 * loads.shape[1]):
        raise ArgumentError(f"load holds {highest}, too much for a sum; divide it by that")
    return loads


def _checked_current(current: torch.Tensor, shape: _Shape, layers: int) -> Numbers:
    wanted = (layers, shape.slots)
    if current.dtype != torch.int64 or tuple(current.shape) != wanted:
        raise ArgumentError(
            f"current is {current.dtype} {list(current.shape)}, but must be int64 {list(wanted)}"
        )
    rows: Numbers = current.detach().cpu().numpy()
    if rows.size and (rows.min() < 0 or rows.max() >= shape.experts):
        raise ArgumentError(
            f"current holds {rows.min()} to {rows.max()}, but experts are 0 to {shape.experts - 1}"
        )
    for layer, row in enumerate(rows):
        lacking = np.flatnonzero(np.bincount(row, minlength=shape.experts) == 0)
        if len(lacking):
            raise ArgumentError(f"current has no slot for expert {lacking[0]} in layer {layer}")
    return rows
