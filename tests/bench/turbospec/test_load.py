"""The load is the same for every policy, and as lucky as was asked for."""

from __future__ import annotations

import itertools

import pytest

from crossdock.bench.turbospec import load, models
from crossdock.bench.turbospec.scenario import SCENARIOS, Phase, Scenario
from crossdock.serving.vllm.oracle import TAG

FIVE = SCENARIOS[0]


def test_the_scenario_by_which_others_were_compared_is_there() -> None:
    assert FIVE.name == "five"
    assert [(phase.requests, *phase.chances) for phase in FIVE.phases] == [
        (1, 0.9),
        (32, 0.4),
        (8, 0.8),
        (32, 0.9),
        (2, 0.3),
    ]
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS) >= 4
    assert max(p.requests for s in SCENARIOS for p in s.phases) <= load.MOST_REQUESTS


def test_requests_depend_on_nothing_but_their_place_and_the_seed() -> None:
    places = [(0, 0, 0, 1), (0, 0, 1, 1), (1, 0, 0, 1), (1, 3, 0, 1), (0, 0, 0, 2)]
    first = [load.asked(FIVE, *place) for place in places]
    again = [load.asked(FIVE, *place) for place in reversed(places)]
    assert first == again[::-1]
    assert len({tuple(request.right) for request in first}) == len(places)
    for request in first:
        assert load.LEAST_TOKENS <= request.tokens == len(request.right) <= load.MOST_TOKENS


def test_live_requests_have_different_prompts() -> None:
    prompts = load.prompts(0, models.VOCABULARY)
    assert prompts == load.prompts(0, models.VOCABULARY)
    assert len({tuple(prompt[:TAG]) for prompt in prompts}) == len(prompts)
    assert max(max(prompt) for prompt in prompts) < models.VOCABULARY
    held: dict[int, set[int]] = {}
    for lane in range(load.MOST_REQUESTS):
        for number in range(4):
            held.setdefault(load.asked(FIVE, 1, lane, number, 0).prompt, set()).add(lane)
    assert all(len(lanes) == 1 for lanes in held.values())
    assert max(held) < len(prompts)


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_luck_is_as_asked_for_and_runs_are_as_long(persistence: float) -> None:
    scenario = Scenario("luck", [Phase(2, (0.7, 0.2))], persistence)
    for lane, chance in ((0, 0.7), (1, 0.2)):
        rights = [load.asked(scenario, 0, lane, 2 * n, 0).right for n in range(800)]
        count = sum(map(len, rights))
        assert sum(map(sum, rights)) / count == pytest.approx(chance, abs=0.04)
        alike = sum(a == b for right in rights for a, b in itertools.pairwise(right))
        expected = persistence + (1 - persistence) * (chance**2 + (1 - chance) ** 2)
        assert alike / (count - len(rights)) == pytest.approx(expected, abs=0.03)
