"""The verbs endpoint by itself beside perftest, between the same two devices, by turns.

`compare` measures the whole path: ring, proxy, window and endpoint, which perftest has not. Here is
what the transport adds to the device: an endpoint posts and polls, without a proxy. Build the
program outside, run it in the lab:

    python -m tests.rdma_lab.compare_endpoint --build build/time_verbs_endpoint
    lab run -- python -m tests.rdma_lab.compare_endpoint build/time_verbs_endpoint

Theirs is the wall time of 2n transfers less that of n; ours that of n, after some to warm up. A
ratio above 1 means that ours is faster. Latency needs two processors: both sides poll memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.proxy.test_instructions import VERBS_SOURCES, compile_program
from tests.rdma_lab.perf import WRITE_LATENCY, WRITES, measure

# Name, mode of the program, theirs, bytes, transfers.
QUESTIONS: tuple[tuple[str, str, Sequence[str], int, int], ...] = (
    ("bandwidth", "stream", WRITES, 65536, 1000),
    ("messages", "stream", WRITES, 64, 8000),
    ("latency, both ways", "ping_pong", WRITE_LATENCY, 64, 2000),
)
LIMIT_S = 120.0


def seconds_of(program: Path, mode: str, size: int, transfers: int) -> float:
    """What our program says that so many transfers took."""
    command = [str(program), mode, str(size), str(transfers), "rxe0", "rxe1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return float(done.stdout)


def main() -> None:
    """Builds the program, or compares and prints a line for each question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("--build", action="store_true", help="make the program, measure nothing")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    program = options.program.resolve()
    if options.build:
        program.parent.mkdir(parents=True, exist_ok=True)
        compile_program("time_verbs_endpoint", VERBS_SOURCES, program)
        return
    for name, mode, theirs, size, transfers in QUESTIONS:
        if mode == "ping_pong" and os.cpu_count() == 1:
            continue
        turns = [
            (
                measure(theirs, size, transfers, runs=1).seconds / transfers,
                seconds_of(program, mode, size, transfers) / transfers,
            )
            for _ in range(options.rounds)
        ]
        ratio = statistics.median(their / our for their, our in turns)
        their, our = (statistics.median(column) for column in zip(*turns, strict=True))
        text = f"{name:20} {size:6} B  {theirs[0]} {their * 1e6:8.2f} us"
        print(f"{text}  endpoint {our * 1e6:8.2f} us  ratio {ratio:.3f}", flush=True)


if __name__ == "__main__":
    main()
