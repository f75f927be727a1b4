"""How many tokens each expert got: counted on its rank, gathered from all, and how uneven that is.

window = LoadWindow(num_layers=60, num_local_experts=32, steps=100)
...
window.add(layer, num_recv_tokens_per_expert_list)  # of each dispatch
...
load = gather_load(window, group)  # int64 [layers, experts], the same on every rank
placement = place_experts(load, num_slots=288, num_groups=8, num_nodes=4, num_ranks=32)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from crossdock.ep.groups import exchange_of
from crossdock.ep.tensors import expect_whole
from crossdock.proxy.bootstrap import agree
from crossdock.proxy.errors import ArgumentError, MismatchError


class LoadWindow:
    """Tokens of the experts of this rank over the last steps, for each layer by itself.

    Args:
        num_layers: with experts.
        num_local_experts: of this rank, replicas (slots) counted one by one.
        steps: how many counts of a layer are kept; the oldest is forgotten.
    """

    def __init__(self, num_layers: int, num_local_experts: int, steps: int) -> None:
        for name, value in (
            ("num_layers", num_layers),
            ("num_local_experts", num_local_experts),
            ("steps", steps),
        ):
            if expect_whole(name, value) < 1:
                raise ArgumentError(f"{name} is {value}, but must be positive")
        shape = (num_layers, steps, num_local_experts)
        self._kept = torch.zeros(shape, dtype=torch.int64, device="cpu")
        self._total = torch.zeros((num_layers, num_local_experts), dtype=torch.int64, device="cpu")
        self._readings = torch.zeros_like(self._total)
        self._next = [0] * num_layers

    def add(self, layer: int, counts: Sequence[int] | torch.Tensor) -> None:
        """The counts of one step.

        Args:
            layer: which.
            counts: [local experts] of ``Buffer.dispatch`` (with ``expert_alignment=1``: others are
                rounded up, use ``exact_counts`` then) or of ``low_latency_dispatch``. To read a
                tensor of a GPU waits for it.
        """
        new = self._checked(layer, counts)
        place = self._next[layer]
        self._total[layer] += new - self._kept[layer, place]
        self._kept[layer, place] = new
        self._next[layer] = (place + 1) % self._kept.shape[1]

    def add_cumulative(self, layer: int, counts: Sequence[int] | torch.Tensor) -> None:
        """What has come since the last reading of ``cumulative_local_expert_recv_stats``, as one
        step. Where a counter is lower than before, it has been set to 0 between the two. One in
        int32 that has gone beyond 31 bits looks negative, and is read as if it had no sign.
        """
        given = torch.as_tensor(counts, device="cpu")
        if given.dtype == torch.int32:
            given = given.to(torch.int64) & 0xFFFFFFFF
        now = self._checked(layer, given)
        before = self._readings[layer]
        self.add(layer, torch.where(now < before, now, now - before))
        self._readings[layer] = now

    def total(self) -> torch.Tensor:
        """int64 [layers, local experts], of the steps that are kept."""
        return self._total.clone()

    def clear(self) -> None:
        """Forget all steps, as when experts have moved. Readings of counters stay."""
        self._kept.zero_()
        self._total.zero_()

    def _checked(self, layer: int, counts: Sequence[int] | torch.Tensor) -> torch.Tensor:
        layers, experts = self._total.shape
        if not 0 <= expect_whole("layer", layer) < layers:
            raise ArgumentError(f"layer is {layer}, but there are {layers}")
        new = torch.as_tensor(counts, device="cpu")
        if tuple(new.shape) != (experts,) or new.is_floating_point() or new.is_complex():
            raise ArgumentError(
                f"counts are {new.dtype} {list(new.shape)}, but must be whole numbers [{experts}]"
            )
        new = new.to(torch.int64)  # first: not every kind of whole number has a least one in torch
        if int(new.min()) < 0:
            raise ArgumentError(f"counts hold {int(new.min())}, but must not be negative")
        return new


def exact_counts(recv_topk_idx: torch.Tensor, num_local_experts: int) -> torch.Tensor:
    """int64 [local experts] of what a dispatch returned, whatever its alignment.

    Args:
        recv_topk_idx: int64 [rows, topk], -1 where the expert is elsewhere.
        num_local_experts: of this rank.
    """
    return torch.bincount(recv_topk_idx.flatten() + 1, minlength=num_local_experts + 1)[1:]


def gather_load(window: LoadWindow, group: object, timeout_s: float = 60.0) -> torch.Tensor:
    """The totals of all ranks; collective.

    Args:
        window: of this rank.
        group: as for ``Buffer``: a torch process group or a ``crossdock.proxy.Exchange``.
        timeout_s: for the slowest rank.

    Returns:
        int64 [layers, experts], those of rank 0 first, the same on every rank.

    Raises:
        MismatchError: ranks have other numbers of layers or experts.
        DeadlineExceeded: ranks are missing.
    """
    exchange = exchange_of(group)
    parts = agree(
        exchange,
        timeout_s,
        list[list[int]],
        lambda: [[int(count) for count in row] for row in window.total().tolist()],
        "gather the load of experts",
    )
    shapes = [(len(part), len(part[0])) for part in parts]
    for peer, shape in enumerate(shapes):
        if shape != shapes[exchange.rank]:
            raise MismatchError(
                f"rank {exchange.rank}: layers and local experts are {shapes[exchange.rank]} here, "
                f"but {shape} on rank {peer}; they must be the same on every rank"
            )
    return torch.cat([torch.tensor(part, dtype=torch.int64) for part in parts], dim=1)


def logical_load(load: torch.Tensor, physical_to_logical: torch.Tensor) -> torch.Tensor:
    """The load of experts from that of their replicas.

    Args:
        load: [layers, slots] as ``gather_load`` returns it where experts have replicas.
        physical_to_logical: int64 [layers, slots] of a ``Placement``.

    Returns:
        [layers, experts] in the type of ``load``.
    """
    if load.shape != physical_to_logical.shape:
        raise ArgumentError(
            f"load has shape {list(load.shape)}, but physical_to_logical "
            f"{list(physical_to_logical.shape)}; they must be the same"
        )
    experts = int(physical_to_logical.max()) + 1 if load.numel() else 0
    return load.new_zeros(load.shape[0], experts).scatter_add_(1, physical_to_logical, load)


@dataclasses.dataclass(frozen=True)
class Imbalance:
    """The largest load over the mean load: 1 is even, 2 means that the others wait half the time.
    Without any load it is 1.
    """

    of_experts: torch.Tensor
    """float64 [layers]."""
    of_ranks: torch.Tensor
    """float64 [layers]."""

    def __str__(self) -> str:
        experts, ranks = (
            f"{float(one.mean()):.2f} (worst layer {float(one.max()):.2f})"
            for one in (self.of_experts, self.of_ranks)
        )
        return f"max/mean of experts {experts}, of ranks {ranks}"


def imbalance(load: torch.Tensor, num_ranks: int) -> Imbalance:
    """How uneven a load is.

    Args:
        load: [layers, experts or slots], those of rank 0 first.
        num_ranks: which share them equally.
    """
    if load.dim() != 2 or not load.numel() or num_ranks < 1 or load.shape[1] % num_ranks:
        raise ArgumentError(
            f"load has shape {list(load.shape)}, but must have [layers, a multiple of "
            f"{num_ranks} ranks]"
        )
    exact = load.to(torch.float64)  # before any sum: those of 16 bits soon are too large for them
    wrong = exact[~exact.isfinite() | (exact < 0)]
    if wrong.numel():
        raise ArgumentError(f"load holds {wrong[0]}, but must hold finite numbers of at least 0")
    of_ranks = exact.reshape(load.shape[0], num_ranks, -1).sum(2)
    return Imbalance(_most_over_mean(exact), _most_over_mean(of_ranks))


def _most_over_mean(load: torch.Tensor) -> torch.Tensor:
    mean = load.mean(1)
    return torch.where(mean > 0, load.amax(1) / mean, 1.0)
