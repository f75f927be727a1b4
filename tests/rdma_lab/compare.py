"""Our transport beside perftest and ibv_rc_pingpong, between the same two devices, by turns.

Run it in the lab, on a machine that does nothing else:

    lab run --share out -- python -m tests.rdma_lab.compare --json out/compare.json

Theirs is the wall time of 2n transfers less that of n, as in `perf`; ours that of n, between
barriers of ranks that are there already. Ours is stopped while theirs runs, and the other way
round nothing of theirs is there. On one processor a latency test of two sides that poll would
measure the scheduler, so there the latency is compared with the ping-pong that sleeps; nor is a
reading of the clock cheap in user-mode Linux. ``--kernel qemu`` has two processors and a clock.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.harness import RankContext, run_ranks
from tests.rdma_lab.perf import WRITE_LATENCY, WRITES, measure
from tests.rdma_lab.tools import PINGPONG, POLLING_PINGPONG

from crossdock.bench import _native
from crossdock.proxy import FIRST_COUNTER, Communicator, Options, schema

HALF_BYTES = 1 << 20
BATCH = 500  # commands of one push
LIFE_S = 1800.0
WARM_UP = 200


@dataclass(frozen=True)
class Question:
    """What is compared: so many transfers of a size, by a program and by us."""

    name: str
    program: Sequence[str]
    size: int
    transfers: int
    op: str = "WRITE"  # or WRITE_ADD; PING_PONG: there and back


@dataclass
class Answer:
    """Seconds for each transfer, turn by turn; `ratio` is how fast we are, as a share of them."""

    question: Question
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the turns'."""
        pairs = zip(self.theirs, self.ours, strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    def line(self) -> str:
        """For people to read."""
        theirs, ours = statistics.median(self.theirs), statistics.median(self.ours)
        asked = self.question
        return (
            f"{asked.name:28} {asked.size:6} B  {asked.program[0]} {theirs * 1e6:8.2f} us  "
            f"ours {ours * 1e6:8.2f} us  ratio {self.ratio:.3f}"
        )


SEVERAL = (os.cpu_count() or 1) > 1
# ib_write_lat looks at the memory; who polls for a completion has one more to make and to take.
LATENCIES = (WRITE_LATENCY, POLLING_PINGPONG) if SEVERAL else (PINGPONG,)
QUESTIONS = (
    Question("bandwidth", WRITES, 65536, 3000),
    Question("messages", WRITES, 64, 15000),
    Question("messages with immediate", WRITES, 64, 15000, "WRITE_ADD"),
    *(Question("latency, both ways", program, 64, 3000, "PING_PONG") for program in LATENCIES),
)


class Ours:
    """Two ranks that stay and are stopped while they have nothing to do."""

    def __init__(self, threads: int) -> None:
        pairs = [multiprocessing.Pipe() for _ in range(2)]
        self._lines = [mine for mine, _ in pairs]
        theirs = [end for _, end in pairs]
        self._thread = threading.Thread(
            target=run_ranks, args=(_serve, 2, theirs, threads), kwargs={"timeout": LIFE_S}
        )
        self._thread.start()
        self._pids = [line.recv() for line in self._lines]
        self._signal(signal.SIGSTOP)

    def measure(self, question: Question) -> float:
        """Seconds for each transfer."""
        self._signal(signal.SIGCONT)
        for line in self._lines:
            line.send(question)
        seconds, _ = (line.recv() for line in self._lines)
        self._signal(signal.SIGSTOP)
        return float(seconds) / question.transfers

    def end(self) -> None:
        """Lets the ranks go."""
        self._signal(signal.SIGCONT)
        for line in self._lines:
            line.send(None)
        self._thread.join()

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            os.kill(pid, number)


def _serve(context: RankContext, lines: list[Connection], threads: int) -> None:
    line = lines[context.rank]
    options = Options(
        transport="verbs",
        proxy_threads=threads,
        rdma_devices=f"rxe{context.rank}",
        heap_bytes=1 << 20,
    )
    comm = Communicator(
        context.exchange(), options, main_bytes=2 * HALF_BYTES, num_counters=FIRST_COUNTER + 1
    )
    line.send(os.getpid())
    while (question := line.recv()) is not None:
        line.send(
            _ping_pong(comm, question) if question.op == "PING_PONG" else _stream(comm, question)
        )
    comm.destroy()


def _stream(comm: Communicator, question: Question) -> float:
    """Rank 0 writes, rank 1 waits, as it does in perftest."""
    seconds = 0.0
    if comm.rank == 0:
        command = schema.Command(
            schema.Op[question.op], 1, question.size, dst_offset=HALF_BYTES, counter=FIRST_COUNTER
        ).pack()
        _write(comm, [command] * BATCH, WARM_UP)
        comm.barrier()
        began = time.perf_counter()
        _write(comm, [command] * BATCH, question.transfers)
        seconds = time.perf_counter() - began
    else:
        comm.barrier()
    comm.barrier()
    return seconds


def _write(comm: Communicator, batch: list[bytes], count: int) -> None:
    for first in range(0, count, len(batch)):
        comm.native.push_all(0, batch[: count - first], LIFE_S)
    comm.native.await_fence(LIFE_S)


def _ping_pong(comm: Communicator, question: Question) -> float:
    """The time of all, there and back: counted writes, waited for as a product waits."""
    plan = _native.PingPong()
    plan.bytes, plan.first, plan.timeout_s = question.size, comm.rank == 0, LIFE_S
    spent = 0.0
    for count in (WARM_UP, question.transfers):
        plan.count = count
        comm.barrier()
        began = time.perf_counter()
        exchanges = _native.ping_pong_writes(
            comm.native.device_view(), 1 - comm.rank, 0, HALF_BYTES, FIRST_COUNTER, plan
        )
        spent = time.perf_counter() - began
        if plan.first and len(exchanges) < count:
            raise RuntimeError(f"only {len(exchanges)} of {count} exchanges were carried out")
    comm.barrier()
    return spent


def compare(rounds: int, scale: float, threads: int) -> list[Answer]:
    """All questions, turn by turn."""
    answers = [
        Answer(replace(asked, transfers=max(BATCH, round(asked.transfers * scale))))
        for asked in QUESTIONS
    ]
    ours = Ours(threads)
    try:
        for _ in range(rounds):
            for answer in answers:
                asked = answer.question
                figure = measure(asked.program, asked.size, asked.transfers, runs=1)
                answer.theirs.append(figure.seconds / asked.transfers)
                answer.ours.append(ours.measure(asked))
                print(answer.line(), file=sys.stderr, flush=True)
    finally:
        ours.end()
    return answers


def main() -> None:
    """Compares, prints a line for each question, and writes all turns if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="of their numbers of transfers")
    parser.add_argument("--threads", type=int, default=0, help="proxy threads of our ranks")
    parser.add_argument("--json", type=Path, help="file for the figures; share its folder")
    options = parser.parse_args()
    answers = compare(options.rounds, options.scale, options.threads)
    for answer in answers:
        print(answer.line(), flush=True)
    if options.json:
        figures: list[dict[str, Any]] = [asdict(one) | {"ratio": one.ratio} for one in answers]
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
