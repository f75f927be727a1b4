"""The policies that are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from crossdock.bench.turbospec.clocks import Table
from crossdock.bench.turbospec.load import LONGEST_PROMPT, MOST_TOKENS, SHORTEST_PROMPT
from crossdock.bench.turbospec.scenario import Phase, Scenario
from crossdock.serving.turbospec import fixed
from crossdock.serving.turbospec.controller import Controller
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.paper import PaperController
from crossdock.serving.turbospec.settings import Settings
from crossdock.serving.turbospec.step import Policy, Work

OURS = "crossdock"
PAPER = "paper"
TABLE = "table"
_TYPICAL_CONTEXT = (SHORTEST_PROMPT + LONGEST_PROMPT + MOST_TOKENS) // 2


@dataclasses.dataclass(frozen=True)
class Contender:
    """A policy by name, made anew for each run of a scenario."""

    name: str
    make: Callable[[], Policy]


def fixed_name(length: int) -> str:
    """Of the policy that always drafts so many tokens."""
    return f"k={length}"


def contenders(
    most: int, costs: CostModel, charged: Table, scenario: Scenario, ablations: bool
) -> list[Contender]:
    """All that take turns in a scenario.

    Args:
        most: the longest length.
        costs: what the controllers are told.
        charged: what steps cost; the static table is the best by it.
        scenario: the table is the best for it, too.
        ablations: our controller also with parts of it changed.
    """
    found = [
        Contender(fixed_name(length), lambda length=length: fixed.Fixed(length))  # type: ignore[misc]
        for length in range(most + 1)
    ]
    lengths = best_table(most, charged, scenario.phases)
    found += [
        Contender(TABLE, lambda: fixed.Table(lengths)),
        Contender(PAPER, lambda: PaperController(most, costs)),
        Contender(OURS, lambda: Controller(most, costs)),
    ]
    if ablations:
        found += [
            Contender(f"{OURS} {name}", lambda made=made: made(most, costs))  # type: ignore[misc]
            for name, made in ABLATIONS.items()
        ]
    return found


ABLATIONS: dict[str, Callable[[int, CostModel], Policy]] = {
    "no profile": lambda most, _: Controller(most),
    "tokens +30%": lambda most, costs: Controller(most, scaled(costs, 1.3)),
    "tokens -30%": lambda most, costs: Controller(most, scaled(costs, 0.7)),
    "no correction": lambda most, costs: Controller(most, costs, Settings(correct_costs=False)),
    "no probes": lambda most, costs: Controller(most, costs, Settings(explore=0.0)),
    "one for all": lambda most, costs: Controller(most, costs, Settings(per_request=False)),
}
"""What each part of the controller is good for."""


def scaled(costs: CostModel, factor: float) -> CostModel:
    """Costs whose part for tokens is off by a factor."""
    return msgspec.structs.replace(
        costs, knots_s=tuple(seconds * factor for seconds in costs.knots_s)
    )


def best_table(most: int, charged: Table, phases: Sequence[Phase]) -> dict[int, int]:
    """The length for each batch that gives the most tokens in all phases with that batch.

    It knows the phases beforehand, which no table of a user does.
    """
    by_batch: dict[int, list[Phase]] = {}
    for phase in phases:
        by_batch.setdefault(phase.requests, []).append(phase)
    found = {
        requests: max(
            range(most + 1),
            key=lambda length: sum(expected(phase, length, charged) for phase in same),
        )
        for requests, same in by_batch.items()
    }
    return {1: found[min(found)], **found}


def expected(phase: Phase, length: int, charged: Table) -> float:
    """Tokens per second of a phase, where each draft is right with its chance."""
    tokens = sum(sum(chance**place for place in range(length + 1)) for chance in phase.chances) * (
        phase.requests / len(phase.chances)
    )
    work = Work(
        phase.requests,
        phase.requests * (length + 1),
        phase.requests * _TYPICAL_CONTEXT,
        length,
    )
    return tokens / charged.seconds(work)
