"""A rank that is struck at a point of its work, in a process of its own that may die of it."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import torch
from tests.ep.low_latency_cases import LowLatencyCase, LowLatencySpec, check_dispatch, dispatch
from tests.ep.low_latency_cases import check_combine as check_low_latency_combine
from tests.ep.normal_cases import NormalCase, NormalSpec, check_combine
from tests.ep.normal_cases import check_dispatch as check_normal_dispatch
from tests.ep.pool import Seat
from tests.ep.worlds import World, build, on_one_node
from tests.harness import PATIENCE, RankContext

from crossdock.ep import Buffer
from crossdock.ep.reference import LowLatencyDispatched
from crossdock.proxy.errors import CutOff

SIZE = 3
ALL_POINTS = 50
POINTS = int(os.environ.get("CROSSDOCK_POINTS", "2"))
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "slow": signal.SIGSTOP}
DEADLINE_S = 0.9 * PATIENCE  # of a call, where somebody is stopped
# A rank that was heard of within the deadline is not masked, but given as much time again; so it
# can take three of them until one that has stopped is masked.
MASKING_DEADLINE_S = 0.7 * PATIENCE
NAMED_WITHIN_S = 2.0
DELAY_S = 0.3
CALLS = 4
PERIOD, OFFSET = 7, 3  # every seventh point lies between two calls
NORMAL = NormalSpec((40, 50, 60), hidden=1024)
LOW_LATENCY = LowLatencySpec((8, 5, 8), 8, 256)
ROOM = (8, 256, 12)
# Many ranks register it at once; and a process of user-mode Linux ends by signal 11 when it has
# more than 65,000 pieces of memory, of which a registered page may be one.
HEAP_BYTES = 64 << 20


@dataclasses.dataclass
class Blow:
    """Who is hit by what, and when.

    At even points ranks that are lost end a Buffer, at odd ones they are masked; every other two
    have a proxy thread.
    """

    kind: str
    transport: str
    victim: int
    point: int  # below 0: never
    commands: int = 0  # of the victim, in all

    @property
    def masked(self) -> bool:
        return self.point % 2 == 1

    @property
    def threads(self) -> int:
        return self.point // 2 % 2

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.victim}-{self.point}"

    @property
    def world(self) -> World:
        return on_one_node(SIZE, self.transport, self.threads)

    def build(self, rank: RankContext) -> Buffer:
        deadline_s = MASKING_DEADLINE_S if self.masked else DEADLINE_S
        timeout_s = deadline_s if self.kind == "stop" else 20.0
        name, shrink = f"job-{self.name}", self.masked
        return build(
            rank,
            self.world,
            name,
            low_latency=ROOM,
            enable_shrink=shrink,
            timeout_s=timeout_s,
            heap_bytes=HEAP_BYTES,
        )


# ---- the work, and the moment of the blow -------------------------------------------------------


class Trigger:
    """Strikes its own process at the point, when the proxy has taken so many commands or between
    two calls."""

    def __init__(self, rank: RankContext, blow: Blow, buffer: Buffer) -> None:
        self._file = rank.folder / f"moment-{blow.name}"
        self._blow = blow
        self._native = buffer.communicator.native
        self._lock = threading.Lock()
        self._at_call = None
        if blow.point >= 0 and blow.point % PERIOD == OFFSET:
            self._at_call = blow.point // PERIOD % (CALLS + 1)
        elif blow.point >= 0:
            sys.setswitchinterval(1e-4)
            threading.Thread(target=self._watch, daemon=True).start()

    def commands(self) -> int:
        return int(self._native.statistics(0)["commands"])

    def before_call(self, number: int) -> None:
        if number == self._at_call:
            self._strike()

    def after_the_work(self) -> None:
        """The number of commands is not the same in each run; nobody escapes."""
        if self._blow.point >= 0:
            self._strike()

    def _watch(self) -> None:
        target = self._blow.commands * self._blow.point // ALL_POINTS
        while self.commands() < target:
            time.sleep(2e-5)
        self._strike()

    def _strike(self) -> None:
        with self._lock:
            if not self._file.exists():
                draft = self._file.with_suffix(".draft")
                draft.write_text(str(time.monotonic()))
                draft.rename(self._file)
                os.kill(os.getpid(), SIGNALS[self._blow.kind])


class Work:
    """A dispatch and a combine of both modes, or twice the low-latency mode where ranks may be
    masked; compared with the reference."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.normal = NormalCase(
            dataclasses.replace(NORMAL, tokens=NORMAL.tokens[:size]), (0,) * size
        )
        self._state = self.normal.generator.get_state()
        self.low_latency = LowLatencyCase(
            dataclasses.replace(LOW_LATENCY, tokens=LOW_LATENCY.tokens[:size])
        )

    def run(self, rank: RankContext, buffer: Buffer, trigger: Trigger | None = None) -> None:
        before = trigger.before_call if trigger else lambda _number: None
        self.normal.generator.set_state(self._state)
        seat = Seat(
            RankContext(buffer.rank, self.size, rank.folder), on_one_node(self.size), buffer
        )
        before(0)
        handle, event = check_normal_dispatch(seat, self.normal)
        before(1)
        check_combine(seat, self.normal, handle, event)
        before(2)
        handle = check_dispatch(buffer, self.low_latency)
        before(3)
        check_low_latency_combine(buffer, self.low_latency, handle)
        before(CALLS)

    def run_masked(self, buffer: Buffer, trigger: Trigger | None, victim: int) -> None:
        before = trigger.before_call if trigger else lambda _number: None
        for first in (0, 2):
            round_among_the_living(buffer, self.low_latency, victim, before, first)
        before(CALLS)


def round_among_the_living(
    buffer: Buffer, case: LowLatencyCase, victim: int, before: Callable[[int], None], first: int
) -> None:
    """What comes of living ranks is there; of the victim, all that a rank sent or nothing."""
    rank = buffer.rank
    gone = bool(masks(buffer)[victim])
    before(first)
    x, _, handle, event, _ = dispatch(buffer, case)
    event.current_stream_wait()
    want, layout = case.want[rank], handle[1]
    for expert, source, begin, count in parts(layout):
        wanted = int(want.layout_range[expert, source])
        whole = count == wanted & 0xFFFFFFFF
        assert whole or (source == victim and count == 0), (expert, source, count, masks(buffer))
        rows = want.recv_x[expert, wanted >> 32 :][:count]
        assert torch.equal(x[expert, begin : begin + count], rows)
    output = moved(case.outputs[rank], want.layout_range, layout)
    before(first + 1)
    got, event, _ = buffer.low_latency_combine(
        output, case.topk_idx[rank], case.weights[rank], handle
    )
    event.current_stream_wait()
    without = without_victim(case, victim)[rank]
    full = without if gone else case.combined()[rank]
    if rank != victim:
        for row, whole, part in zip(got, full, without, strict=True):
            assert torch.equal(row, whole) or torch.equal(row, part)


def parts(layout: torch.Tensor) -> Iterator[tuple[int, int, int, int]]:
    """Expert, source rank, first row and number of rows."""
    for expert, row in enumerate(layout.tolist()):
        for source, place in enumerate(row):
            yield expert, source, place >> 32, place & 0xFFFFFFFF


def moved(output: torch.Tensor, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The rows of experts at the places that another dispatch gave them."""
    result = torch.zeros_like(output)
    for expert, source, begin, count in parts(new):
        start = int(old[expert, source]) >> 32
        result[expert, begin : begin + count] = output[expert, start : start + count]
    return result


def without_victim(case: LowLatencyCase, victim: int) -> list[torch.Tensor]:
    left = LowLatencyCase(case.spec, {victim})

    def layouts(of: LowLatencyDispatched, to: LowLatencyDispatched) -> tuple[torch.Tensor, ...]:
        return of.layout_range, to.layout_range

    places = zip(case.outputs, case.want, left.want, strict=True)
    left.outputs = [moved(output, *layouts(old, new)) for output, old, new in places]
    return left.combined()


def masks(buffer: Buffer) -> list[int]:
    status = torch.zeros(SIZE, dtype=torch.int32)
    buffer.low_latency_query_mask_buffer(status)
    return [int(flag) for flag in status.tolist()]


# ---- the victim ---------------------------------------------------------------------------------


def suffer(rank: RankContext, blow: Blow, work: Work) -> str:
    """In a process of its own, which may die."""
    buffer = blow.build(rank)
    trigger = Trigger(rank, blow, buffer)

    def once() -> None:
        if blow.masked:
            work.run_masked(buffer, trigger, blow.victim)
        else:
            work.run(rank, buffer, trigger)

    once()
    (rank.folder / f"commands-{blow.name}").write_text(str(trigger.commands()))
    trigger.after_the_work()
    try:
        for _ in range(1000 if blow.kind == "stop" and blow.point >= 0 else 1):
            once()
    finally:
        buffer.destroy()
    return "done"


def child(rank: RankContext, blow: Blow, work: Work) -> int:
    """A child that suffers and leaves its result in a file."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # to end with its parent
        try:
            result = suffer(rank, blow, work)
        except CutOff as error:
            result = f"cut off by {sorted(error.ranks)}"
        except BaseException:  # noqa: BLE001 - told to the parent
            result = traceback.format_exc()
        (rank.folder / f"result-{blow.name}").write_text(result)
        status = 0
    finally:
        os._exit(status)


def attend(rank: RankContext, blow: Blow, work: Work) -> None:
    """The victim's place in the harness: starts it, wakes it, hears how it ended."""
    pace = rank.exchange(f"pace-{blow.name}")
    pid = child(rank, blow, work)
    try:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if blow.kind == "slow" and os.WIFSTOPPED(status):
            time.sleep(DELAY_S)
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, 0)
        pace.all_gather(b"", 60)
        if os.WIFSTOPPED(status):
            os.kill(pid, signal.SIGCONT)
            _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    rank.exchange(f"end-{blow.name}").all_gather(b"", 60)
    if blow.kind == "kill" and blow.point >= 0:
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        return
    result = (rank.folder / f"result-{blow.name}").read_text()
    if blow.kind == "stop" and blow.point >= 0:
        assert result.startswith("cut off by "), result
    else:
        assert result == "done", result
