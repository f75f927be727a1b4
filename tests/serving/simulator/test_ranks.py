"""Two data-parallel ranks of a simulated mixture of experts, one busy and one seldom, in lockstep.

Every pass needs both of them: it lasts as long as the slower one's, and who has no request takes
part with a dummy batch. They share nothing but the agreement's board.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import torch.distributed as dist
from tests.serving.simulator.cases import SHORT

from crossdock.serving.simulator import Acceptance, Limits, Phase, Scenario, Workload, models
from crossdock.serving.simulator.arrivals import Arrivals, Closed, Steps
from crossdock.serving.simulator.engine import Simulation
from crossdock.serving.simulator.profiled import profiled
from crossdock.serving.turbospec import Controller, reasons
from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.turbospec.step import Batch, Plan, Step
from crossdock.serving.vllm.lockstep import Lockstep

LONGEST = 4
TURNS = 10_000
COST = models.expert_parallel(
    models.QWEN_235B, models.H100, 8, models.eagle(models.QWEN_235B, models.H100, 8)
)


def scenario(name: str, arrivals: Arrivals | Closed, chances: Iterable[float]) -> Scenario:
    """The same engine with other load, whose acceptance changes."""
    phases = [Phase(20.0, arrivals, Acceptance(chance), SHORT) for chance in chances]
    limits = Limits(requests=32, tokens=512, blocks=4000)
    return Scenario(name, "ranks", COST, phases, limits, draft_max=LONGEST)


class Rank:
    """A policy that drafts what was agreed, as the plug-in of vLLM does."""

    def __init__(self, number: int, store: Any, load: Scenario) -> None:
        self._controller = Controller(LONGEST, profiled(load))
        self._driver = Driver(self._controller, LONGEST, _fail)
        self._part = Lockstep(LONGEST)
        self.told: list[int] = []
        self.core = SimpleNamespace(
            dp_store=store,
            dp_rank=number,
            dp_size=2,
            vllm_config=SimpleNamespace(
                use_v2_model_runner=False,
                max_concurrent_batches=1,
                parallel_config=SimpleNamespace(enable_elastic_ep=False),
            ),
            model_executor=SimpleNamespace(collective_rpc=self._rpc),
        )
        self.simulation = Simulation(Workload(load, seed=number), self)
        self.length = LONGEST
        self.reasons: set[str] = set()
        self.idles = False
        self.idled = 0

    def _rpc(self, call: Any) -> None:
        self.told += getattr(call, "keywords", {}).values()

    def join(self) -> None:
        """Before the first turn; waits for the other one."""
        self._part.join(self.core)

    def turn(self) -> None:
        """A step, or a dummy batch."""
        steps = len(self.simulation.steps)
        assert self.simulation.advance(), "the scenario is too short"
        self.idles = len(self.simulation.steps) == steps
        if self.idles:
            self.idled += 1
            self._part.idle()
            self.length = self.told[-1] if self.told else self.length

    def plan(self, batch: Batch) -> Plan:
        """See ``Policy``."""
        wish = self._driver.plan(batch)
        plan = self._part.plan(self._driver, batch, wish)
        self.length = plan.draft_length
        self.reasons.add(plan.reason)
        return plan

    def observe(self, step: Step) -> None:
        """See ``Policy``."""
        self._controller.observe(step)

    def forget(self, requests: Iterable[str]) -> None:
        """See ``Policy``."""
        self._controller.forget(requests)


def _fail(text: str) -> None:
    raise AssertionError(text)


def test_ranks_with_different_load_take_10000_turns_together() -> None:
    store = vars(dist)["HashStore"]()
    seldom = Steps(((3.0, 0.5), (2.0, 8.0)))
    chances = (0.9, 0.3, 0.7) * 5
    ranks = [
        Rank(0, store, scenario("busy", Closed(24), chances)),
        Rank(1, store, scenario("seldom", seldom, chances[::-1])),
    ]
    joining = [threading.Thread(target=rank.join, daemon=True) for rank in ranks]
    for thread in joining:
        thread.start()
    for thread in joining:
        thread.join(20)
    lengths = []
    for _ in range(TURNS):
        for rank in ranks:
            rank.turn()
        lengths.append({rank.length for rank in ranks})
        # The pass ends for both when it ends for the slower one; who idles does not go ahead.
        busy, other = (rank.simulation for rank in ranks)
        busy.now = other.now = busy.now if ranks[1].idles else max(busy.now, other.now)
    assert [turn for turn, found in enumerate(lengths) if len(found) != 1] == []
    assert len(set.union(*lengths)) >= 3
    assert all(reasons.AGREED in rank.reasons for rank in ranks)
    assert ranks[0].told == ranks[1].told
    assert ranks[0].idled == 0
    assert 1000 < ranks[1].idled < TURNS - 1000
