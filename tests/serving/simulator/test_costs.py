"""What a step lasts in truth: read once, computed a token at a time, drafted pass by pass."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.serving.simulator.costs import GRAPHS, PARTS, Drafter, Experts, TrueCost
from crossdock.serving.turbospec.step import Work

DRAFTER = Drafter(each_pass=1e-3, per_token=1e-5, keeps_state=True, per_request=1e-6, once=1e-4)
COST = TrueCost(
    fixed=1e-3,
    per_request=1e-5,
    weights=6e-3,
    compute=2e-5,
    per_token=1e-6,
    per_context=1e-8,
    drafter=DRAFTER,
    experts=Experts(count=64, chosen=4, seconds=4e-3),
    graphs=(1, 2, 4, 8, 16, 512),
    eager=2e-3,
)
WORKS = st.builds(
    Work, st.integers(1, 256), st.integers(1, 4096), st.integers(0, 1 << 20), st.integers(0, 8)
)


def test_as_many_experts_are_read_as_tokens_touch() -> None:
    experts = COST.experts
    assert experts is not None
    assert experts.read(0) == 0
    assert experts.read(1) == pytest.approx(experts.seconds * experts.chosen / experts.count)
    assert experts.read(100_000) == pytest.approx(experts.seconds)
    dice = np.random.default_rng(0)
    for tokens in (2, 7, 30):
        touched = [
            len({e for _ in range(tokens) for e in dice.choice(64, 4, replace=False)})
            for _ in range(300)
        ]
        share = float(np.mean(touched)) / experts.count
        assert experts.read(tokens) == pytest.approx(experts.seconds * share, rel=0.03)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_each_drafted_token_takes_a_pass(length: int) -> None:
    work = Work(requests=3, tokens=12, context=100, draft_length=length)
    passes = [12, *[3] * (length - 1)]
    expected = sum(1e-3 + 1e-5 * tokens for tokens in passes) + 1e-4 + 3e-6
    assert DRAFTER.seconds(work) == pytest.approx(expected)


def test_who_drafts_nothing_keeps_the_cache_of_the_drafter_or_pays_nothing() -> None:
    work = Work(requests=3, tokens=12, context=100, draft_length=0)
    assert DRAFTER.seconds(work) == pytest.approx(1e-3 + 12e-5)
    assert dataclasses.replace(DRAFTER, keeps_state=False).seconds(work) == 0


@given(WORKS, st.sampled_from(["requests", "context", "draft_length"]))
def test_more_work_takes_longer(work: Work, feature: str) -> None:
    more = dataclasses.replace(work, **{feature: getattr(work, feature) + 1})
    assert COST.seconds(more) > COST.seconds(work)


@given(WORKS)
def test_more_tokens_never_take_less_and_padding_makes_stairs(work: Work) -> None:
    plain = dataclasses.replace(COST, drafter=dataclasses.replace(DRAFTER, per_token=0.0))
    more = dataclasses.replace(work, tokens=work.tokens + 1)
    padded, eager = plain.padded(work.tokens)
    assert padded >= work.tokens
    assert (eager > 0) == (work.tokens > plain.graphs[-1])
    if plain.padded(more.tokens) == (padded, eager):
        assert plain.seconds(more) == plain.seconds(work)
    else:
        assert plain.seconds(more) > plain.seconds(work)


def test_arithmetic_hides_behind_reading_until_it_takes_longer() -> None:
    dense = dataclasses.replace(COST, experts=None, graphs=(), per_token=0.0)

    def seconds(tokens: int) -> float:
        return dense.seconds(Work(1, tokens, 0, 0)) - DRAFTER.seconds(Work(1, tokens, 0, 0))

    knee = round(dense.weights / dense.compute)
    assert seconds(1) == pytest.approx(seconds(knee))
    assert seconds(2 * knee) - seconds(knee) == pytest.approx(knee * dense.compute)


def test_nothing_to_compute_lasts_as_long_as_one_token() -> None:
    no_graphs = dataclasses.replace(COST, graphs=())
    assert COST.padded(0) == COST.padded(1) == no_graphs.padded(0) == (1, 0.0)


@given(WORKS, st.floats(0.1, 10))
def test_scaled_parts_make_up_the_whole(work: Work, factor: float) -> None:
    known = dataclasses.replace(COST, eager=0.0)
    scaled = known.scaled(**dict.fromkeys(PARTS, factor))
    assert scaled.seconds(work) == pytest.approx(factor * known.seconds(work))


@pytest.mark.parametrize("part", PARTS)
def test_one_part_is_scaled_alone(part: str) -> None:
    work = Work(requests=8, tokens=512 if part == "compute" else 8, context=4096, draft_length=2)
    twice = COST.scaled(**{part: 2.0}).seconds(work) - COST.seconds(work)
    thrice = COST.scaled(**{part: 3.0}).seconds(work) - COST.seconds(work)
    assert twice > 0
    if part != "compute":  # hidden at first
        assert thrice == pytest.approx(2 * twice)


def test_a_part_that_there_is_not_is_named() -> None:
    with pytest.raises(KeyError, match="colour"):
        COST.scaled(colour=2.0)


def test_graphs_are_ascending() -> None:
    assert list(GRAPHS) == sorted(set(GRAPHS))
