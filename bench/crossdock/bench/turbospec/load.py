"""Which requests come: the same ones for every policy, whatever it does."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from crossdock.bench.turbospec.scenario import Scenario

LEAST_TOKENS, MOST_TOKENS = 48, 192
SHORTEST_PROMPT, LONGEST_PROMPT = 12, 48
MOST_REQUESTS = 32
TURNS = 2
"""Prompts of a lane, by turns: those of live requests must differ."""
_FIRST_TOKEN = 3
"""Those before it have a meaning."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request."""

    prompt: int
    """Place in the list of prompts."""
    tokens: int
    """That it gets."""
    right: Sequence[bool]
    """The luck of its drafts, by position of the output."""


def prompts(seed: int, vocabulary: int) -> list[list[int]]:
    """Prompts for all lanes, random tokens."""
    dice = random.Random(f"prompts {seed}")
    return [
        [
            dice.randrange(_FIRST_TOKEN, vocabulary)
            for _ in range(dice.randint(SHORTEST_PROMPT, LONGEST_PROMPT))
        ]
        for _ in range(MOST_REQUESTS * TURNS)
    ]


def asked(scenario: Scenario, phase: int, lane: int, number: int, seed: int) -> Asked:
    """The request that a lane has as its ``number``-th in a phase."""
    dice = random.Random(f"{scenario.name} {phase} {lane} {number} {seed}")
    chances = scenario.phases[phase].chances
    chance = chances[(lane + number) % len(chances)]
    tokens = dice.randint(LEAST_TOKENS, MOST_TOKENS)
    right: list[bool] = []
    for _ in range(tokens):
        if right and dice.random() < scenario.persistence:
            right.append(right[-1])
        else:
            right.append(dice.random() < chance)
    return Asked(prompt=lane * TURNS + number % TURNS, tokens=tokens, right=right)
