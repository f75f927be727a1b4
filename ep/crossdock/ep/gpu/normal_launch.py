"""How kernels of the normal mode are launched: what is compiled in, and on how many programs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from crossdock.ep import _native
from crossdock.ep.gpu.device import Device
from crossdock.ep.gpu.tiles import chunk_of, power_of_two, tokens_at_once
from crossdock.ep.kernels import (
    layout,
    normal_begin,
    normal_combine,
    normal_control,
    normal_dispatch,
    waiting,
)
from crossdock.ep.kernels.normal_control import COURSE_WORDS, GOING, GRANTS, HEADERS

_PLAN_TOKENS = 1024
_ATOMIC = "atomic"
# What is not rounded here is not rounded in the reference.
_EXACT = {"enable_fp_fusion": False}


@dataclasses.dataclass(frozen=True)
class Agreed:
    """What must be the same on all ranks: ``Agreement`` of ``ep/csrc/control.h``, but the number of
    the dispatch."""

    call: _native.Call
    hidden_bytes: int
    scale_bytes: int
    topk: int
    num_experts: int
    element_bytes: int

    @property
    def words(self) -> tuple[int, ...]:
        """As kernels take them."""
        return (
            self.call.value,
            self.hidden_bytes,
            self.scale_bytes,
            self.topk,
            self.num_experts,
            self.element_bytes,
        )

    @property
    def combines(self) -> bool:
        """Whether rows go back."""
        return self.call == _native.Call.COMBINE

    @property
    def makes_handle(self) -> bool:
        """Whether it is a dispatch with headers."""
        return self.call == _native.Call.DISPATCH

    @property
    def num_scales(self) -> int:
        """Of each row."""
        return self.scale_bytes // 4

    @property
    def meta_bytes(self) -> int:
        """That travel beside a row; see ``ep/csrc/meta.h``."""
        return (8 * self.topk + self.scale_bytes + 15) // 16 * 16


@dataclasses.dataclass
class Ways:
    """Where rows of a dispatch went, on the device: what a handle is made of."""

    number: torch.Tensor  # [1], of the dispatch; -1 when it failed
    first_row: torch.Tensor  # [ranks + 1]
    expert_rows: torch.Tensor  # [experts here]
    sent: torch.Tensor  # [ranks]
    place_of: torch.Tensor  # [tokens, ranks]


@dataclasses.dataclass
class Places:
    """Offsets in the heap region: of what is sent, and of what arrives;
    and, in the inbox, of what lies behind the rows that others write there."""

    out_rows: int = 0
    out_meta: int = 0
    rows: int = 0
    meta: int = 0
    inbox_meta: int = 0
    uses_inbox: bool = False


class NormalCall:
    """The kernels of one call, in the order in which they are launched."""

    def __init__(self, device: Device, agreed: Agreed, ways: Ways, refusal: int = 0) -> None:
        ranks = device.communicator.size
        here = device.platform.device
        self._device = device
        self._agreed = agreed
        self._ways = ways
        self._refusal = refusal
        self._ranks = ranks
        self._rank = device.communicator.rank
        self._area = _native.ControlArea(ranks)
        self._course = torch.empty(COURSE_WORDS, dtype=torch.int64, device=here)
        self._tables = torch.empty((4, ranks), dtype=torch.int64, device=here)
        self._waits = torch.ones((4, ranks), dtype=torch.int32, device=here)
        self._view = (device.view, device.state, self._course)
        self._lanes = {"RANKS": ranks, "RANK_LANES": power_of_two(ranks)}
        self._rings = {"NUM_RINGS": device.num_rings, "CAPACITY": device.ring_slots}
        self._columns = {
            "K": agreed.topk,
            "K_LANES": power_of_two(agreed.topk),
            "SCALES": agreed.num_scales,
            "SCALE_LANES": power_of_two(agreed.num_scales),
        }
        self._rows = {
            "ROW_BYTES": agreed.hidden_bytes,
            "CHUNK": chunk_of(agreed.hidden_bytes),
        }

    def begin(self) -> None:
        """Wait for what the last call sent, and set the course."""
        normal_begin.begin[(1,)](
            *self._view, self._ways.number,
            MAKES_HANDLE=self._agreed.makes_handle, **self._rings,
            RING_LANES=power_of_two(self._device.num_rings), **self._lanes,
            BACKEND=self._device.platform.backend, num_warps=1,
        )  # fmt: skip

    def plan(self, in_rank: torch.Tensor, per_rank: torch.Tensor) -> None:
        """Which of this rank's tokens goes where."""
        ways = self._ways
        layout.plan[(self._ranks,)](
            self._device.view, in_rank.view(torch.uint8), per_rank, ways.place_of, ways.sent,
            ways.place_of.shape[0], RANKS=self._ranks, TOKENS=_PLAN_TOKENS,
        )  # fmt: skip

    def exchange_headers(self, per_expert: torch.Tensor) -> None:
        """Tell all ranks what comes, and hear it of them."""
        ways, agreed = self._ways, self._agreed
        local = agreed.num_experts // self._ranks
        slots = (self._area.header(False, 0, 0), self._area.header_bytes)
        sizes = {"RANKS": self._ranks, "LOCAL": local, "LOCAL_LANES": power_of_two(local)}
        normal_control.announce[(self._ranks,)](
            *self._view, ways.number, ways.sent, per_expert, *slots, *agreed.words, self._refusal,
            COUNTER=_native.HEADER_COUNTER, RANK=self._rank, **sizes, **self._rings,
            FENCE_BY=self._device.platform.backend, num_warps=1,
        )  # fmt: skip
        self._await(HEADERS.value, _native.HEADER_COUNTER, self._waits[0])
        normal_control.read_headers[(1,)](
            *self._view, ways.number, self._waits[1], ways.first_row, ways.expert_rows, *slots,
            *agreed.words, RANK_LANES=power_of_two(self._ranks), **sizes, num_warps=4,
        )  # fmt: skip

    def exchange_grants(self, places: Places, room: int, refusal: int = 0) -> None:
        """Tell all ranks where their rows may go, and hear it of them."""
        ways, agreed = self._ways, self._agreed
        slots = (self._area.grant(False, 0, 0), self._area.grant_bytes)
        ranks = {"COMBINES": agreed.combines, "RANK": self._rank, **self._lanes}
        first_in, rows_to, meta_to, near_to = self._tables
        normal_control.grant[(self._ranks,)](
            *self._view, ways.number, ways.first_row, ways.sent, first_in, self._waits[3],
            *slots, places.rows, places.meta, places.inbox_meta, room, *agreed.words,
            self._refusal or refusal, USES_INBOX=places.uses_inbox,
            PIECES=2 if agreed.meta_bytes else 1, COUNTER=_native.GRANT_COUNTER, **ranks,
            **self._rings, FENCE_BY=self._device.platform.backend, num_warps=1,
        )  # fmt: skip
        self._await(GRANTS.value, _native.GRANT_COUNTER, self._waits[0])
        normal_control.read_grants[(1,)](
            *self._view, ways.number, self._waits[1], rows_to, meta_to, near_to, *slots,
            agreed.meta_bytes, *agreed.words,
            MAKES_HANDLE=agreed.makes_handle, **ranks, num_warps=4,
        )  # fmt: skip

    def send_rows(
        self,
        x: torch.Tensor,
        topk: tuple[torch.Tensor, torch.Tensor] | None,
        scales: torch.Tensor | None,
        places: Places,
    ) -> None:
        """Rows of a dispatch to all ranks."""
        given = x.view(torch.uint8)
        idx, weights = (given, given) if topk is None else topk
        _, *to = self._tables
        strides = (0, 0) if scales is None else scales.stride()
        if x.shape[0]:
            normal_dispatch.send_rows[(x.shape[0],)](
                *self._view, given, idx, bits_of(weights),
                given if scales is None else bits_of(scales), self._ways.place_of,
                *to, *strides, places.out_rows, places.out_meta,
                COUNTER=_native.ROW_COUNTER, RANK=self._rank, **self._lanes, **self._rows,
                **self._columns, **self._rings, FENCE_BY=_ATOMIC,
            )  # fmt: skip
        self._tell_near()

    def unpack_rows(
        self,
        rows: torch.Tensor,
        topk: tuple[torch.Tensor, torch.Tensor] | None,
        scales: torch.Tensor | None,
        places: Places,
    ) -> None:
        """Wait for the rows of a dispatch, and put them in place."""
        self._await(GOING.value, _native.ROW_COUNTER, self._waits[3])
        filled = rows.view(torch.uint8)
        idx, weights = (filled, filled) if topk is None else topk
        local = self._agreed.num_experts // self._ranks
        if rows.shape[0]:
            normal_dispatch.unpack_rows[(rows.shape[0],)](
                self._device.view, self._course, self._ways.first_row, filled, idx,
                bits_of(weights), filled if scales is None else bits_of(scales),
                places.rows, places.meta, places.inbox_meta,
                USES_INBOX=places.uses_inbox, RANK=self._rank, FIRST_EXPERT=local * self._rank,
                LOCAL=local, **self._lanes, **self._rows, **self._columns,
            )  # fmt: skip

    def return_rows(
        self, x: torch.Tensor, rows: int, weights: torch.Tensor | None, places: Places
    ) -> None:
        """The first ``rows`` of a combine to their sources, as far as they came from somewhere."""
        _, *to = self._tables
        if rows:
            normal_combine.return_rows[(rows,)](
                *self._view, x.view(torch.uint8), bits_of(x if weights is None else weights),
                self._ways.first_row, *to, places.out_rows, places.out_meta,
                COUNTER=_native.ROW_COUNTER, RANK=self._rank, **self._lanes, **self._rows,
                K=self._agreed.topk, K_LANES=power_of_two(self._agreed.topk), **self._rings,
                FENCE_BY=_ATOMIC,
            )  # fmt: skip
        self._tell_near()

    def sum_rows(
        self,
        x: torch.Tensor,
        weights: torch.Tensor | None,
        biases: tuple[torch.Tensor, ...],
        out: torch.Tensor,
        out_weights: torch.Tensor | None,
        places: Places,
    ) -> None:
        """Wait for the rows of a combine, and sum them."""
        self._await(GOING.value, _native.ROW_COUNTER, self._waits[3])
        tokens, hidden = out.shape
        if not tokens:
            return
        is_float = out.dtype == torch.float32
        chunk = min(1024, power_of_two(hidden))
        first, second = (*biases, x, x)[:2]
        normal_combine.sum_rows[(tokens, -(-hidden // chunk))](
            self._device.view, self._course, x.view(torch.uint8),
            out if weights is None else weights, out if is_float else out.view(torch.int16),
            out if out_weights is None else out_weights, first, second, self._ways.first_row,
            self._tables[0], self._ways.place_of, places.rows, places.meta, places.inbox_meta,
            USES_INBOX=places.uses_inbox, BIASES=len(biases), RANK=self._rank, RANKS=self._ranks,
            HIDDEN=hidden, FLOAT=is_float, K=self._agreed.topk,
            K_LANES=power_of_two(self._agreed.topk), CHUNK=chunk, **_EXACT,
        )  # fmt: skip

    def _tell_near(self) -> None:
        if self._device.inbox is None:
            return
        normal_dispatch.tell_near[(self._device.num_rings,)](
            *self._view, self._tables[3], COUNTER=_native.ROW_COUNTER, RANK=self._rank,
            **self._lanes, **self._rings, FENCE_BY=self._device.platform.backend, num_warps=1,
        )  # fmt: skip

    def _await(self, word: int, counter: int, expected: torch.Tensor) -> None:
        arrived, excused = self._waits[1], self._waits[2]
        waiting.await_counters[(1,)](
            self._device.view, self._device.state, self._course[word:], expected, arrived, excused,
            self._course,
            INDEX=counter, SEALED=False, FROM_ROUND=0, TIMED=False, **self._lanes,
            NUM_COUNTERS=_native.NUM_COUNTERS, BACKEND=self._device.platform.backend, num_warps=1,
        )  # fmt: skip


def count_tokens(
    device: Device, topk_idx: torch.Tensor, num_experts: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens of each rank, of each expert, and which token goes to which rank."""
    ranks, here = device.communicator.size, device.platform.device
    tokens, topk = topk_idx.shape
    per_rank = torch.zeros(ranks, dtype=torch.int32, device=here)
    per_expert = torch.zeros(num_experts, dtype=torch.int32, device=here)
    in_rank = torch.empty((tokens, ranks), dtype=torch.bool, device=here)
    lanes = power_of_two(topk)
    at_once = tokens_at_once(lanes)
    if tokens:
        layout.count_tokens[(-(-tokens // at_once),)](
            device.view, topk_idx, per_rank, per_expert, in_rank.view(torch.uint8), tokens,
            RANKS=ranks, LOCAL=num_experts // ranks, K=topk, K_LANES=lanes, TOKENS=at_once,
            num_warps=8,
        )  # fmt: skip
    return per_rank, per_expert, in_rank


def bits_of(tensor: torch.Tensor) -> Any:
    """As whole numbers of 32 bits, where its elements have as many."""
    return tensor.view(torch.int32) if tensor.element_size() == 4 else tensor
