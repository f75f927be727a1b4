"""`crossdock bench turbospec-overhead`: what the control of speculation costs the engine's thread.

A step of the driver is all that the control does for a step of an engine, but for reading the
engine's own objects: the clock, a plan, and what is learnt from the results. With ``--vllm``, in an
environment that has it, steps of vLLM's schedulers with the control in them are measured too: that
is all of the plug-in, beside what the scheduler itself takes.

Instructions are counted by another program, which runs this module:

    valgrind --tool=callgrind --callgrind-out-file=/dev/null \\
        python -m crossdock.bench.turbospec_overhead STEPS REQUESTS

once with 100 steps and once with 1100; the difference is that of a thousand steps. With a third
argument, ``idle``, the driver is not called: the bench's own share, to be taken off.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from crossdock.bench import command, options, plot, text
from crossdock.bench.command import Common
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.text import Column, Value
from crossdock.bench.turbospec_scheduler import OURS as PLUGIN
from crossdock.bench.turbospec_scheduler import THEIRS, SchedulerLoop
from crossdock.serving.simulator import models
from crossdock.serving.turbospec import Batch, Controller, CostModel, Policy, Verified, Work
from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.turbospec.paper import PaperController

LONGEST = 8
CONTEXT = 500
"""Tokens of each request."""
PLAN = "plan"
STEP = "driver's step"
SCHEDULERS = {False: "vLLM's step", True: "vLLM's, ahead"}
PAPER = "paper"
VLLM = "vllm"

NOTES = (
    "requests with chances of acceptance from 0.1 to 0.97, drafts of up to 8 tokens;",
    "plan: a decision alone; driver's step: decision, clock, and learning from the results;",
    "vLLM's step: the plug-in in its scheduler, and (vllm) that itself; ahead: asynchronous;",
    "of a step: share of a step of Llama 8B on one H100 without drafts, derived from data sheets",
)
COLUMNS = (
    Column("policy", "", 9, left=True),
    Column("what", "", 14, left=True),
    Column("requests", "", 8),
    Column("median", "us", 8, 1),
    Column("min", "us", 8, 1),
    Column("99%", "us", 8, 1),
    Column("of a step", "%", 9, 2),
    Column("x paper", "", 7, 2),
)
COSTS = CostModel(
    step_s=0.004,
    request_s=6e-6,
    context_s=4e-8,
    knots=(1.0, 256.0, 2304.0),
    knots_s=(0.006, 0.006, 0.054),
    draft_s=0.0005,
    draft_token_s=0.0005,
    draft_request_s=1e-7,
)


@dataclass(frozen=True)
class Options(Common):
    """Time of a decision and of a driver's step, beside the published controller."""

    requests: str = "1,32,256"
    """Of a batch, with commas."""
    items: int = 200
    """Of one turn."""
    rounds: int = 20
    """How often each contender has its turn."""
    vllm: bool = False
    """Steps of vLLM's schedulers too; needs vLLM in the same environment."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.numbers("requests", self.requests, 1, 4096)
        options.at_least("items", self.items, 1)
        options.at_least("rounds", self.rounds, 1)


def main(given: Options) -> int:
    """Measure, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="turbospec-overhead", settings=given.settings(), notes=list(NOTES))
    with options.progress_on(console) as tell:
        sizes = options.numbers("requests", given.requests, 1)
        for place, requests in enumerate(sizes):
            tell(place, len(sizes), f"{requests} requests")
            record.series += series_of(requests, given.items, given.rounds)
            if given.vllm:
                record.series += schedulers_of(requests, given.items, given.rounds)
    return record


def series_of(requests: int, items: int, rounds: int) -> list[Series]:
    """All contenders at one size of batch, in turn."""
    contenders: dict[tuple[str, str], Callable[[], float]] = {}
    policies: dict[str, Policy] = {
        OURS: Controller(LONGEST, COSTS),
        PAPER: PaperController(LONGEST, COSTS),
    }
    for name, policy in policies.items():
        loop = Loop(policy, requests)
        contenders[name, STEP] = loop.step
        contenders[name, PLAN] = loop.plan
    samples: dict[tuple[str, str], list[list[float]]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, item in contenders.items():
            samples[key].append([item() for _ in range(items)])
    return [
        Series(contender=name, point={"what": what, "requests": requests}, rounds=of)
        for (name, what), of in samples.items()
    ]


def schedulers_of(requests: int, items: int, rounds: int) -> list[Series]:
    """The plug-in in both schedulers of vLLM, and these themselves, in turn."""
    loops = {ahead: SchedulerLoop(requests, ahead, COSTS) for ahead in SCHEDULERS}
    parties = {PLUGIN: OURS, THEIRS: VLLM}
    samples: dict[tuple[str, str], list[list[float]]] = {
        (party, what): [] for what in SCHEDULERS.values() for party in parties
    }
    for _ in range(rounds):
        for ahead, loop in loops.items():
            steps = [loop.step() for _ in range(items)]
            for party in parties:
                samples[party, SCHEDULERS[ahead]].append([step[party] for step in steps])
    return [
        Series(contender=parties[party], point={"what": what, "requests": requests}, rounds=of)
        for (party, what), of in samples.items()
    ]


class Loop:
    """A driver and an engine that takes no time."""

    def __init__(self, policy: Policy, requests: int) -> None:
        self._names = [str(i) for i in range(requests)]
        self._batch = Batch(self._names, CONTEXT * requests)
        dice = np.random.default_rng(1)
        chances = dice.uniform(0.1, 0.97, requests)
        self._runs = (dice.geometric(1 - chances, size=(64, requests)) - 1).tolist()
        self._policy = policy
        self._now = 0.0
        self._driver = Driver(policy, LONGEST, warn=_fail, clock=self)
        self._verify = [0] * requests
        self._turn = 0
        for _ in range(100):
            self.step()

    def now(self) -> float:
        """The time of the engine."""
        return self._now

    def ran(self, work: Work) -> None:
        """The engine has run a step."""
        self._now += COSTS.seconds(work)

    def plan(self) -> float:
        """Seconds of a decision."""
        begin = time.perf_counter()
        self._policy.plan(self._batch)
        return time.perf_counter() - begin

    def step(self) -> float:
        """Seconds of all that is done for a step of an engine."""
        driver, drafts = self._driver, self._verify
        begin = time.perf_counter()
        driver.begin()
        plan = driver.plan(self._batch)
        assert plan is not None
        count = len(drafts)
        work = Work(count, count + sum(drafts), self._batch.context, plan.draft_length)
        driver.scheduled(self, work, 0, plan)
        planned = time.perf_counter()
        verified = self.run()
        arrived = time.perf_counter()
        driver.verified(self, verified, count + sum(verified.accepted), busy=True)
        driver.end()
        self._verify = list(plan.verify)
        return time.perf_counter() - arrived + planned - begin

    def run(self) -> Verified:
        """What becomes of the drafts in an engine."""
        drafts, self._turn = self._verify, (self._turn + 1) % len(self._runs)
        run = self._runs[self._turn]
        had = [i for i, k in enumerate(drafts) if k]
        accepted = [min(run[i], drafts[i]) for i in had]
        return Verified([self._names[i] for i in had], [drafts[i] for i in had], accepted)


def _fail(text_of_driver: str) -> None:
    raise RuntimeError(text_of_driver)


def step_s(requests: int) -> float:
    """Seconds of a step of the engine that the overhead is held against."""
    cost = models.dense(models.LLAMA_8B, models.H100, 1, models.NGRAM)
    return cost.seconds(Work(requests, requests, CONTEXT * requests, 0))


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, (row(record, series) for series in record.series))
    yield "#"
    yield from text.tail(record)


def row(record: Record, series: Series) -> Mapping[str, Value]:
    """A line of the table."""
    summary, requests = series.summary(), int(series.point["requests"])
    return {
        "policy": series.contender,
        "what": series.point["what"],
        "requests": requests,
        "median": 1e6 * summary.p50,
        "min": 1e6 * summary.min,
        "99%": 1e6 * summary.p99,
        "of a step": 100 * summary.p50 / step_s(requests),
        "x paper": record.ratio(series, PAPER),
    }


def draw(record: Record, path: Path) -> None:
    """Medians by the size of the batch."""
    plot.save(
        record,
        path,
        panel_of=lambda series: str(series.point["what"]),
        along="requests",
        value=lambda series: 1e6 * series.summary().p50,
        unit="us",
    )


def run_steps(items: int, requests: int, idle: bool) -> None:
    """Steps of our driver, for a program that counts instructions."""
    loop = Loop(Controller(LONGEST, COSTS), requests)
    for _ in range(items):
        if idle:
            loop.run()
        else:
            loop.step()


if __name__ == "__main__":
    run_steps(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["idle"])
