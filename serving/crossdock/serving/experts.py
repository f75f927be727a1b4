"""Expert parallelism as engines want it: tokens to the ranks of their experts, and sums back."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable

import torch

from crossdock.ep import Buffer, Config
from crossdock.ep.groups import exchange_of
from crossdock.ep.normal_arguments import DispatchHandle
from crossdock.proxy import Options
from crossdock.proxy.errors import ArgumentError
from crossdock.proxy.options import variable_of
from crossdock.serving.watch import Watch

_PATIENCE_S = 300.0
"""Ranks of an engine may be minutes apart, as while they load weights; a death is heard at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Received:
    """The tokens that came to this rank for its experts.

    ``ids`` are numbers of local experts, -1 where a choice of the token is elsewhere; there the
    weight is 0.
    """

    hidden: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor
    handle: DispatchHandle


class ExpertParallel:
    """Moves tokens through a ``Buffer`` of its own. Experts are split evenly, in order.

    Building one is collective. Rows may have any dtype: they travel as bytes. What experts return
    in bfloat16 is summed by ``Buffer.combine``; in another dtype it is sent back by a second
    dispatch, and summed here in that dtype.

    Args:
        group: the ranks, as for ``Buffer``.
        num_experts: of all ranks together.
        report: is told once, within a moment, which rank has been lost, whatever this one waits
            for meanwhile.

    Raises:
        CrossdockError: as ``Buffer``.
    """

    def __init__(self, group: object, num_experts: int, report: Callable[[str], object]) -> None:
        options = Options.from_environment()
        if not os.environ.get(variable_of("timeout_s")):
            options = dataclasses.replace(options, timeout_s=_PATIENCE_S)
        self.buffer = _buffer_of(group, options)
        self.num_experts = num_experts
        communicator = self.buffer.communicator
        self._watch = Watch(communicator, exchange_of(group), report)
        self._watch.start()

    def dispatch(
        self, hidden: torch.Tensor, topk_ids: torch.Tensor, topk_weights: torch.Tensor
    ) -> Received:
        """Send each token to the ranks that have experts for it; collective.

        Args:
            hidden: [tokens, hidden].
            topk_ids: [tokens, topk], numbers among the experts of all ranks, -1 for none.
            topk_weights: [tokens, topk].

        Raises:
            CrossdockError: as ``Buffer.dispatch``.
        """
        rows, ids, weights, handle = self._send(
            _as_bytes(hidden), topk_ids.to(torch.int64), topk_weights.to(torch.float32)
        )
        return Received(
            rows.view(hidden.dtype), ids.to(topk_ids.dtype), weights.to(topk_weights.dtype), handle
        )

    def combine(self, received: Received, outputs: torch.Tensor) -> torch.Tensor:
        """Bring back what the experts of each rank made of the tokens, and sum it; collective.

        Args:
            received: of the dispatch.
            outputs: [tokens received, hidden], weighted and summed over the local experts.

        Returns:
            [tokens dispatched, hidden].

        Raises:
            CrossdockError: as ``Buffer.combine``.
        """
        outputs = outputs.contiguous()
        if outputs.dtype == torch.bfloat16:
            summed, _, _ = self.buffer.combine(outputs, received.handle)
            return summed
        return self._sum_of_returned(received.handle, outputs)

    def destroy(self) -> None:
        """Leave the job; what has been lost until then is reported. Idempotent."""
        self._watch.end()
        if not self.buffer.communicator.destroyed:
            self.buffer.destroy()

    def _send(
        self, rows: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, experts: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, DispatchHandle]:
        ids = ids.contiguous()
        per_rank, per_node, per_expert, in_rank, _ = self.buffer.get_dispatch_layout(
            ids, experts or self.num_experts
        )
        came, came_ids, came_weights, _, handle, _ = self.buffer.dispatch(
            rows,
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_node,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=ids,
            topk_weights=weights.contiguous(),
        )
        if isinstance(came, tuple) or came_ids is None or came_weights is None or handle is None:
            raise ArgumentError("a dispatch without scales and handle gave scales or no handle")
        return came, came_ids, came_weights, handle

    def _sum_of_returned(self, handle: DispatchHandle, outputs: torch.Tensor) -> torch.Tensor:
        """``Buffer.combine`` sums in bfloat16 only; other rows go home as they came."""
        size = self.buffer.group_size
        device = outputs.device
        counts = [end - start for start, end in itertools.pairwise(handle.first_row)]
        ranks = torch.arange(size, device=device)
        home = ranks.repeat_interleave(torch.tensor(counts, device=device)).unsqueeze(1)
        weights = torch.ones(home.shape, dtype=torch.float32, device=device)
        rows, _, _, _ = self._send(_as_bytes(outputs), home, weights, size)
        back = rows.view(outputs.dtype)
        tokens = handle.is_token_in_rank.shape[0]
        summed = torch.zeros((tokens, outputs.shape[1]), dtype=outputs.dtype, device=device)
        # Rows come ordered by rank, then by token: as the tokens were sent.
        came = 0
        for sent in handle.is_token_in_rank.unbind(1):
            count = int(sent.sum())
            summed[sent] += back[came : came + count]
            came += count
        return summed


def compacted(received: Received) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights for kernels that take local experts only, and know no -1.

    Choices that are elsewhere go last, as many columns as no token needs are left out, and what
    remains of them names an expert that the token has chosen anyway, with weight 0.
    """
    elsewhere = received.ids < 0
    order = torch.argsort(elsewhere.to(torch.int8), dim=1, stable=True)
    needed = int((~elsewhere).sum(1).max()) if received.ids.shape[0] else 1
    ids = received.ids.gather(1, order)[:, : max(1, needed)]
    weights = received.weights.gather(1, order)[:, : max(1, needed)]
    return torch.where(ids < 0, ids[:, :1], ids).contiguous(), weights.contiguous()


def _buffer_of(group: object, options: Options) -> Buffer:
    size = getattr(group, "size", None)
    ranks = size() if callable(size) else size
    if not isinstance(ranks, int):
        raise ArgumentError(f"group is {group!r}, which does not say how many ranks it has")
    needed = Config().get_nvl_buffer_size_hint(1, ranks)
    return Buffer(group, num_nvl_bytes=needed, explicitly_destroy=True, options=options)


def _as_bytes(rows: torch.Tensor) -> torch.Tensor:
    """Rows of any dtype under the dtype that the normal mode carries without looking at it."""
    return rows.contiguous().view(torch.bfloat16)
