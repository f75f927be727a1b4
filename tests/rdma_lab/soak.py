"""Rounds of dispatch and combine over disturbed links, every token compared with the reference.

Run it in the lab, with a shared folder for the figures:

    lab run --nics 4 --timeout 900 --share out -- \
        python -m tests.rdma_lab.soak --seconds 600 --json out/soak.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tests.ep.inputs import same
from tests.ep.low_latency_cases import (
    LowLatencyCase,
    LowLatencySpec,
    check_received,
    combine,
    dispatch,
)
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import built, on_one_node
from tests.harness import RankContext, run_ranks
from tests.rdma_lab import guest

FAULTS = "loss 1% delay 300us 150us reorder 3%"
RANKS = 2
TOKENS, HIDDEN, LOCAL_EXPERTS, TOPK = 16, 512, 4, 4
CASES = 24
NORMAL_EVERY = 8  # rounds
START_S_MAX = 90.0


@dataclass(frozen=True)
class Soaked:
    """What was run, and right: rounds of each mode, and tokens that were sent and came back."""

    faults: str
    nics: int
    ranks: int
    seconds: float
    low_latency_rounds: int
    normal_rounds: int
    tokens: int
    packets: int
    longest_round_s: float


def soak(seconds: float, faults: str = FAULTS, ranks: int = RANKS) -> Soaked:
    """Disturbs every link and runs the ranks; raises what a rank raised."""
    with contextlib.ExitStack() as stack:
        for nic in range(guest.nics()):
            stack.enter_context(guest.disturbed(nic, faults))
        before = sum(map(guest.sent, range(guest.nics())))
        found = run_ranks(_rounds, ranks, seconds, timeout=seconds + START_S_MAX)
        packets = sum(map(guest.sent, range(guest.nics()))) - before
    low, normal, tokens, spent, longest = found[0]
    return Soaked(faults, guest.nics(), ranks, spent, low, normal, tokens, packets, longest)


def _rounds(context: RankContext, seconds: float) -> tuple[int, int, int, float, float]:
    """Rounds of both modes, tokens of the job, seconds, the longest round."""
    torch.set_num_threads(1)
    cases = [_case(seed, context.size) for seed in range(CASES)]
    combined = [case.combined() for case in cases]
    world = on_one_node(context.size, "verbs")
    stop = context.folder / "stop"
    room = (TOKENS, HIDDEN, LOCAL_EXPERTS * context.size)
    low = normal = tokens = 0
    longest = 0.0
    with built(context, world, low_latency=room, timeout_s=60.0) as buffer:
        seat = Seat(context, world, buffer)
        began = last = time.monotonic()
        while not stop.exists():
            case = cases[low % CASES]
            x, count, handle, _, _ = dispatch(buffer, case)
            check_received(case, case.want[context.rank], x, count, handle)
            # Who combines has what rank 0 dispatched; who has rank 0's combine sees the file.
            if context.rank == 0 and time.monotonic() - began > seconds:
                stop.touch()
            y, _, _ = combine(buffer, case, handle)
            assert same(y, combined[low % CASES][context.rank]), f"round {low}"
            low, tokens = low + 1, tokens + sum(case.spec.tokens)
            if low % NORMAL_EVERY == 0:
                spec = _normal_spec(low, context.size)
                check_normal(seat, spec)
                normal, tokens = normal + 1, tokens + sum(spec.tokens)
                buffer.clean_low_latency_buffer(*room)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    return low, normal, tokens, last - began, longest


def _case(seed: int, ranks: int) -> LowLatencyCase:
    tokens = tuple(TOKENS - (seed + rank) % 5 for rank in range(ranks))
    form = ("bf16", "fp8")[seed % 2]
    return LowLatencyCase(
        LowLatencySpec(
            tokens, TOKENS, HIDDEN, LOCAL_EXPERTS, TOPK, masked=0.1, format=form, seed=seed
        )
    )


def _normal_spec(seed: int, ranks: int) -> NormalSpec:
    return NormalSpec(tokens=(12,) * ranks, hidden=HIDDEN, seed=seed)


def main() -> None:
    """Runs as long as it is told, prints the figures, and writes them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--faults", default=FAULTS, help="of each link, as netem has them")
    parser.add_argument("--ranks", type=int, default=RANKS)
    parser.add_argument("--json", type=Path, help="file for the figures; share its folder")
    options = parser.parse_args()
    soaked = json.dumps(asdict(soak(options.seconds, options.faults, options.ranks)), indent=1)
    print(soaked)
    if options.json:
        options.json.write_text(soaked)


if __name__ == "__main__":
    main()
