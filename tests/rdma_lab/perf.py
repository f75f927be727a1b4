"""Stock programs between two NICs of the guest, by the wall clock.

Run it in the lab: ``lab run -- python -m tests.rdma_lab.perf [--json FILE]``. The columns of rates
that perftest prints are useless there (it finds no frequency of a processor); so each figure is the
time of 2n transfers less that of n, which leaves out connecting and tearing down.

A bandwidth test has one side that polls. A latency test of writes has two, and on the one processor
of user-mode Linux each waits a slice of the scheduler for the other: it would measure that. There
a ping-pong of sends with completion events stands for it, with a receive and two wake-ups more.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.rdma_lab.tools import PINGPONG, exchange

LIMIT_S = 60.0
RUNS = 3
# -F: no complaint about the processor's frequency; -x 1: the IPv4 address of the device.
WRITES = ("ib_write_bw", "-F", "-x", "1")
WRITE_LATENCY = ("ib_write_lat", "-F", "-x", "1")


@dataclass(frozen=True)
class Figure:
    """One measurement: `transfers` of `size` bytes took `seconds` of wall time."""

    program: str
    size: int
    transfers: int
    seconds: float

    def line(self) -> str:
        """For people to read."""
        each = self.seconds / self.transfers
        text = f"{self.program:24} {self.size:8} B {self.transfers:7} in {self.seconds:7.3f} s"
        return f"{text} {each * 1e6:9.1f} us each {self.size / each / 1e6:8.1f} MB/s"


def measure(program: Sequence[str], size: int, transfers: int, runs: int = RUNS) -> Figure:
    """The time of that many transfers (there and back, if the program sends both ways)."""
    once, twice = (_wall(program, size, count, runs) for count in (transfers, 2 * transfers))
    return Figure(" ".join(program), size, transfers, twice - once)


def plan() -> list[tuple[Sequence[str], int, int]]:
    """What is worth measuring with the processors that there are: program, size, transfers."""
    figures: list[tuple[Sequence[str], int, int]] = [
        (WRITES, 64, 20000),
        (WRITES, 7168, 10000),
        (WRITES, 65536, 4000),
    ]
    several = (os.cpu_count() or 1) > 1
    return [*figures, (WRITE_LATENCY, 64, 1000) if several else (PINGPONG, 64, 5000)]


def _wall(program: Sequence[str], size: int, transfers: int, runs: int) -> float:
    """The least of some runs: whatever else runs on the machine only ever makes one longer."""
    outcomes = [exchange(program, transfers, size, (0, 1), LIMIT_S) for _ in range(runs)]
    for outcome in outcomes:
        if outcome.status:
            raise RuntimeError(f"{' '.join(program)} ended with {outcome.status}: {outcome.said}")
    return min(outcome.seconds for outcome in outcomes)


def main() -> None:
    """Measures the plan, prints each figure, and writes them all if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the figures; share its folder")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of transfers")
    options = parser.parse_args()
    figures = []
    for program, size, transfers in plan():
        figures.append(measure(program, size, max(1, round(transfers * options.scale))))
        print(figures[-1].line(), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))


if __name__ == "__main__":
    main()
