"""What the load and the luck of drafts do over time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Phase:
    """A time in which nothing changes: so many requests at once, a new one for each that ends."""

    requests: int
    chances: Sequence[float]
    """How often a draft is right if those before it were, by turns for the requests."""
    seconds: float = 1.0
    """How long it lasts, in parts of what the user asks for."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Phases, one after the other; every request leaves at the end of its phase."""

    name: str
    phases: Sequence[Phase]
    persistence: float = 0.0
    """The part of drafts whose luck is that of the draft before them: long runs of right and wrong
    ones, as seen in the wild; the chance of a single draft stays."""
    drafter: float = 0.0
    """What each position costs that is drafted, in steps of one request without drafts."""


def _steps(*phases: tuple[int, float]) -> list[Phase]:
    return [Phase(requests, (chance,)) for requests, chance in phases]


SCENARIOS = (
    Scenario("five", _steps((1, 0.9), (32, 0.4), (8, 0.8), (32, 0.9), (2, 0.3))),
    Scenario("tide", _steps((1, 0.7), (4, 0.7), (16, 0.7), (32, 0.7), (12, 0.7), (2, 0.7))),
    Scenario("prompts", _steps((8, 0.9), (8, 0.2), (8, 0.8), (8, 0.05), (8, 0.6)), persistence=0.5),
    Scenario(
        "mixed",
        [
            Phase(24, (0.95, 0.2)),
            Phase(6, (0.5,)),
            Phase(16, (0.9, 0.9, 0.1)),
            Phase(3, (0.85,)),
            Phase(28, (0.3,)),
        ],
        drafter=0.06,
    ),
)
"""The five phases by which TurboSpec's rivals were compared before, and three scenarios more."""
