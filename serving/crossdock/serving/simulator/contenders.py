"""Policies by name: what is compared, and the controller with parts of it taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.simulator.judge import Judge
from crossdock.serving.simulator.phases import Scenario
from crossdock.serving.simulator.profiled import misjudged, profiled
from crossdock.serving.turbospec.controller import Controller
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.paper import PaperController
from crossdock.serving.turbospec.settings import Settings
from crossdock.serving.turbospec.step import Policy

OURS = "ours"
PAPER = "paper"
TABLE = "table"

Make = Callable[[Judge, int], Policy]
"""From a judge, who knows the scenario, and a seed."""


def _ours(settings: Settings | None = None, known: bool = True, wrong: bool = False) -> Make:
    def make(judge: Judge, seed: int) -> Policy:
        scenario = judge.workload.scenario
        costs = _costs(scenario, seed, wrong) if known else None
        return Controller(scenario.draft_max, costs, settings)

    return make


def _paper(wrong: bool = False) -> Make:
    def make(judge: Judge, seed: int) -> Policy:
        scenario = judge.workload.scenario
        return PaperController(scenario.draft_max, _costs(scenario, seed, wrong))

    return make


def _costs(scenario: Scenario, seed: int, wrong: bool) -> CostModel:
    truth = misjudged(scenario.cost, seed) if wrong else None
    return profiled(scenario, truth, seed)


CONTENDERS: Mapping[str, Make] = {
    OURS: _ours(),
    PAPER: _paper(),
    TABLE: lambda judge, _: judge.table(),
    "ours, costs 30% wrong": _ours(wrong=True),
    "paper, costs 30% wrong": _paper(wrong=True),
    "ours, costs unknown": _ours(known=False),
    "ours, costs 30% wrong, not corrected": _ours(Settings(correct_costs=False), wrong=True),
    "ours, no exploration": _ours(Settings(explore=0.0)),
    "ours, one acceptance for all": _ours(Settings(per_request=False)),
    "ours, no hysteresis": _ours(Settings(hold_s=0.0)),
    "ours, slow to change": _ours(Settings(hold_s=2.0, switch_gain=0.2)),
}
"""By the name that reports use. Names with ``ours,`` are ablations."""


def known(names: str) -> list[str]:
    """Names with semicolons, as ``ours;paper``.

    Raises:
        ArgumentError: one that there is not.
    """
    found = [name.strip() for name in names.split(";")]
    for name in found:
        if name not in CONTENDERS:
            raise ArgumentError(f"there is no policy {name!r}; choose from {'; '.join(CONTENDERS)}")
    return found
