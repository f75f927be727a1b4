"""Serves simulated scenarios on a real engine: ``python simulator_job.py MODELS OUT``.

The requests come at the times and have the lengths that the simulator draws, nothing is drafted,
and a step lasts what the simulator says that it costs. What each step held goes to a file.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tests.serving.simulator.cases import BATCHES, batches

from crossdock.bench.turbospec import models, stage
from crossdock.serving.simulator import Scenario, Workload
from crossdock.serving.simulator.costs import TrueCost
from crossdock.serving.turbospec.driver import Outcome
from crossdock.serving.turbospec.fixed import Fixed
from crossdock.serving.turbospec.step import Work


class Virtual:
    """A clock that goes on by what steps cost, and on to the next request when there is none."""

    def __init__(self, cost: TrueCost) -> None:
        self._cost = cost
        self.time = 0.0

    def now(self) -> float:
        """Seconds."""
        return self.time

    def ran(self, work: Work) -> None:
        """A step has run."""
        if work.tokens > 0:
            self.time += self._cost.seconds(work)


def main(folder: Path, out: Path) -> None:
    """All of ``BATCHES``, one after the other."""
    stage.prepare()
    model = str(models.random_model(folder, models.TINY))
    out.write_text(json.dumps({name: rows(model, batches(name)) for name in BATCHES}))


def rows(model: str, scenario: Scenario) -> list[tuple[float, int, int, int]]:
    """End, decoding requests, tokens, and tokens that requests got, of each step."""
    from crossdock.serving.vllm.inprocess import InProcess
    from crossdock.serving.vllm.scheduler import TurboSpecScheduler

    workload, limits = Workload(scenario, seed=0), scenario.limits
    arguments = {
        **stage.ARGUMENTS,
        "max_model_len": 256,
        "max_num_seqs": limits.requests,
        "max_num_batched_tokens": limits.tokens,
        "num_gpu_blocks_override": limits.blocks + 1,  # one is never given away
        "block_size": limits.block,
    }
    vllm = InProcess(model, stage.SPECULATIVE, TurboSpecScheduler, arguments)
    clock, steps, dice = Virtual(scenario.cost), list[Outcome](), random.Random(0)
    vllm.scheduler.turbospec.use(Fixed(0), clock)
    vllm.scheduler.turbospec.observers[:] = [steps.append]
    for number, arrival in enumerate(workload.times(0)):
        while clock.time < arrival and vllm.scheduler.has_unfinished_requests():
            vllm.step()
        clock.time = max(clock.time, arrival)
        request = workload.request(0, number)
        prompt = [dice.randrange(3, models.VOCABULARY) for _ in range(request.prompt)]
        vllm.add(request.name, prompt, request.output)
    while vllm.scheduler.has_unfinished_requests():
        vllm.step()
    vllm.close()
    return [
        (one.time, one.step.work.requests, one.step.work.tokens, one.step.generated)
        for one in steps
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
