"""The exchange as a competent user of PyTorch writes it over an all-to-all of rows.

One copy of a token goes to each rank that has an expert of it, with its top-k in a second
collective; counts go first. On the way back rows are summed in float32. In low-latency mode
tokens are cast before they leave, spread over the experts where they arrive, and weighted and
summed there before they return, so that no row crosses twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from crossdock.bench.workload import Arrived, Inputs, Shape, experts_output, inputs_of
from crossdock.ep import reference

BLOCK_ROWS = 64
"""Rows that are widened to float32 at once, so that they stay in the cache."""


class Wire(Protocol):
    """An all-to-all of rows."""

    def all_to_all(
        self, received: Tensor, sent: Tensor, receive: Sequence[int], send: Sequence[int]
    ) -> None:
        """Send `send[r]` rows of uint8 [rows, bytes] to rank r and receive `receive[r]` from it."""


class Route(NamedTuple):
    """Who gets which token, and how many rows come from whom."""

    token: Tensor
    send: list[int]
    receive: list[int]


class Received(NamedTuple):
    """Rows as they came, by source rank and token, with source tokens and local experts."""

    rows: Tensor
    scales: Tensor | None
    token: Tensor
    expert: Tensor
    weights: Tensor
    route: Route


class Spread(NamedTuple):
    """Which received row each row of an expert is, and its weight."""

    row: Tensor
    weight: Tensor
    counts: Tensor


class PlainExchange:
    """The work of one rank over some wire."""

    def __init__(self, wire: Wire, shape: Shape, rank: int) -> None:
        self._wire = wire
        self._shape = shape
        self.rank = rank
        self.local_experts = shape.local_experts

    def dispatch(self, inputs: Inputs) -> Received:
        """Normal mode, and the first half of low-latency mode."""
        values, scales = inputs.values, inputs.scales
        topk = self._shape.topk
        if self._shape.mode == "low_latency" and self._shape.dtype == "fp8":
            values, scales = reference.fp8_cast(inputs.x)
        route = self._route(inputs.topk_idx)
        rows = self._exchange(values[route.token], route)
        received_scales = None if scales is None else self._exchange(scales[route.token], route)
        labels = self._exchange(_labels(inputs)[route.token], route)
        expert, weights = labels[:, 1 : 1 + topk], labels[:, 1 + topk :]
        local = expert.long() - self.rank * self.local_experts
        here = (local >= 0) & (local < self.local_experts)
        return Received(
            rows,
            received_scales,
            labels[:, :1].long(),
            torch.where(here, local, -1),
            torch.where(here, weights.contiguous().view(torch.float32), 0.0),
            route,
        )

    def spread(self, received: Received) -> Spread:
        """Rows by expert; within one by source rank and token."""
        row, k = (received.expert >= 0).nonzero(as_tuple=True)
        expert = received.expert[row, k]
        order = expert.argsort(stable=True)
        counts = torch.bincount(expert, minlength=self.local_experts)
        return Spread(row[order], received.weights[row, k][order], counts)

    def combine(self, output: Tensor, route: Route) -> Tensor:
        """Rows back to where they came from, summed."""
        back = output.new_empty(len(route.token), output.shape[1])
        self._all_to_all(back, output, route.send, route.receive)
        total = torch.zeros(self._shape.tokens, output.shape[1], dtype=torch.float32)
        _add_rows(total, route.token, back)
        return total.bfloat16()

    def reduce(self, output: Tensor, spread: Spread, num_rows: int) -> Tensor:
        """The weighted sum of the experts of this rank, for each received row."""
        total = torch.zeros(num_rows, output.shape[1], dtype=torch.float32)
        _add_rows(total, spread.row, output, spread.weight)
        return total.bfloat16()

    def _route(self, topk_idx: Tensor) -> Route:
        shape = self._shape
        in_rank = torch.zeros(shape.tokens, shape.ranks, dtype=torch.bool)
        in_rank.scatter_(1, topk_idx // shape.local_experts, value=True)
        send = in_rank.sum(0)
        receive = torch.empty_like(send)
        ones = [1] * shape.ranks
        self._all_to_all(receive.unsqueeze(1), send.unsqueeze(1), ones, ones)
        return Route(in_rank.t().nonzero()[:, 1], send.tolist(), receive.tolist())

    def _exchange(self, rows: Tensor, route: Route) -> Tensor:
        received = rows.new_empty(sum(route.receive), rows.shape[1])
        self._all_to_all(received, rows, route.receive, route.send)
        return received

    def _all_to_all(
        self, received: Tensor, sent: Tensor, receive: Sequence[int], send: Sequence[int]
    ) -> None:
        self._wire.all_to_all(received.view(torch.uint8), sent.view(torch.uint8), receive, send)


class PlainWay:
    """The plain exchange as one way to dispatch and combine."""

    def __init__(self, name: str, wire: Wire, shape: Shape, rank: int) -> None:
        self.name = name
        self.exact = shape.mode == "normal"  # else partial sums are rounded on the way
        self._exchange = PlainExchange(wire, shape, rank)
        self._spreads = shape.mode == "low_latency"
        self._inputs = inputs_of(shape, rank)
        self._received: Received | None = None
        self._spread: Spread | None = None
        self._arrived: Arrived | None = None

    def dispatch(self) -> None:
        """Rows at the ranks of their experts; in low-latency mode sorted by experts."""
        received = self._exchange.dispatch(self._inputs)
        self._received = received
        if self._spreads:
            spread = self._spread = self._exchange.spread(received)
            scales = None if received.scales is None else received.scales[spread.row]
            rows, token = received.rows[spread.row], received.token[spread.row]
            self._arrived = Arrived(rows, scales, token, None, spread.counts)

    def arrived(self) -> Arrived:
        """What came of the last dispatch."""
        if self._arrived is not None:
            return self._arrived
        received = _there(self._received)
        counts = torch.bincount(
            received.expert[received.expert >= 0], minlength=self._exchange.local_experts
        )
        return Arrived(received.rows, received.scales, received.expert, received.weights, counts)

    def output(self) -> Tensor:
        """What the experts make of it."""
        arrived = self.arrived()
        return experts_output(arrived.rows, arrived.scales, self._exchange.rank)

    def combine(self, output: Tensor) -> Tensor:
        """Sums at the ranks of the tokens."""
        received = _there(self._received)
        if self._spread is not None:
            output = self._exchange.reduce(output, self._spread, len(received.rows))
        return self._exchange.combine(output, received.route)

    def forget(self) -> None:
        """Let go of the last results."""
        self._received = self._spread = self._arrived = None

    def close(self) -> None:
        """There is nothing to give back."""


def _add_rows(total: Tensor, to: Tensor, rows: Tensor, weights: Tensor | None = None) -> None:
    """Add rows in float32, a few at a time: as one call it takes twice as long."""
    for first in range(0, len(rows), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        terms = rows[block].float()
        if weights is not None:
            terms *= weights[block].unsqueeze(1)
        total.index_add_(0, to[block], terms)


def _labels(inputs: Inputs) -> Tensor:
    """Number, experts and weights of each token, in one table that travels at once."""
    number = torch.arange(len(inputs.topk_idx), dtype=torch.int32).unsqueeze(1)
    weights = inputs.topk_weights.view(torch.int32)
    return torch.cat([number, inputs.topk_idx.int(), weights], dim=1)


def _there(received: Received | None) -> Received:
    if received is None:
        raise RuntimeError("dispatch comes first")
    return received
