"""The chooser against all plans, tried one by one."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.serving.turbospec import CostModel, Work
from crossdock.serving.turbospec.chooser import Chooser
from crossdock.serving.turbospec.prompts import Expected

COSTS = CostModel(
    step_s=0.004,
    request_s=1e-4,
    context_s=1e-7,
    knots=(1.0, 4.0, 5.0, 9.0, 10.0, 30.0),
    knots_s=(0.0, 0.0, 0.003, 0.003, 0.006, 0.009),
    draft_s=0.0005,
    draft_token_s=0.0004,
    draft_request_s=1e-5,
)
LONGEST = 3
FACTORS = np.ones(4)


def best_by_trying(
    counts: list[int], survival: np.ndarray, context: int, prefill: int, factors: np.ndarray
) -> dict[int, float]:
    """The most goodput of each length over all lengths of all requests.

    What prompts add to a step without drafts does not count.
    """
    owners = [c for c, n in enumerate(counts) for _ in range(n)]
    count = len(owners)
    best = dict.fromkeys(range(LONGEST + 1), 0.0)
    for lengths in itertools.product(range(LONGEST + 1), repeat=len(owners)):
        tokens = len(owners) + sum(
            float(survival[c, :k].sum()) for c, k in zip(owners, lengths, strict=True)
        )
        for length in range(max(lengths, default=0), LONGEST + 1):
            work = Work(len(owners), len(owners) + sum(lengths) + prefill, context, length)
            alone, beside = (COSTS.parts(Work(0, n, 0, 0))[1] for n in (count, count + prefill))
            prompts = beside - alone
            seconds = float(np.array(COSTS.parts(work)) @ factors - prompts * factors[1])
            best[length] = max(best[length], tokens / seconds)
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=2, max_size=2).filter(lambda c: sum(c) > 0),
    st.lists(st.floats(0.02, 0.98), min_size=2 * LONGEST, max_size=2 * LONGEST),
    st.integers(0, 10_000),
    st.integers(0, 8),
    st.lists(st.floats(0.3, 3), min_size=4, max_size=4),
)
def test_no_plan_of_classes_is_better(
    counts: list[int], chances: list[float], context: int, prefill: int, factors: list[float]
) -> None:
    survival = np.cumprod(np.array(chances).reshape(2, LONGEST), axis=1)
    scale = np.array(factors)
    chooser = Chooser(LONGEST, 2, COSTS)
    chooser.expect(Expected(prefill, (), 1.0))
    found = chooser.choices(np.array(counts), survival, context, scale)
    tried = best_by_trying(counts, survival, context, prefill, scale)
    for length in range(LONGEST + 1):
        # Requests of a class have the same length in a plan, in a trial they may differ.
        assert found.goodput[length] <= tried[length] * (1 + 1e-9)
        work = Work(sum(counts), int(sum(counts) + prefill), context, length)
        verify = found.verify(length, 2)
        assert verify.max() <= length
        drafts = int(verify @ np.array(counts))
        assert found.drafts[length] == drafts
        work = Work(work.requests, work.tokens + drafts, context, length)
        assert found.seconds[length] == pytest.approx(float(np.array(COSTS.parts(work)) @ scale))
    if max(counts) == 1:
        assert found.goodput == pytest.approx([tried[k] for k in range(LONGEST + 1)])


def test_a_dip_in_goodput_does_not_end_the_search() -> None:
    # 5 tokens cost a step more, and up to 9 then cost the same.
    survival = np.cumprod(np.full((1, 8), 0.97), axis=1)
    costs = CostModel(
        step_s=0.010,
        request_s=0.0,
        context_s=0.0,
        knots=(1.0, 1.5, 9.0),
        knots_s=(0.0, 0.011, 0.011),
        draft_s=0.0,
        draft_token_s=0.0,
        draft_request_s=0.0,
    )
    goodput = Chooser(8, 1, costs).choices(np.array([1]), survival, 0, FACTORS).goodput
    assert goodput[1] < goodput[0] * 1.001
    assert goodput.argmax() == 8


def test_requests_of_little_chance_are_not_verified() -> None:
    survival = np.array([[0.05, 0.001, 0.0], [0.95, 0.9, 0.85]])
    found = Chooser(3, 2, COSTS).choices(np.array([8, 2]), survival, 0, FACTORS)
    best = int(found.goodput.argmax())
    assert found.verify(best, 2)[0] == 0
    assert found.verify(best, 2)[1] > 0


def test_more_tokens_cost_what_the_line_says() -> None:
    chooser = Chooser(3, 1, COSTS)
    assert chooser.token_s(4, 1, np.array([1, 2.0, 1, 1])) == pytest.approx(0.006)
    assert math.isclose(chooser.token_s(5, 4, FACTORS), 0.0, abs_tol=1e-12)


# 64 tokens are free, each further one costs 0.1 ms.
KNEE = CostModel(
    step_s=0.010,
    request_s=0.0,
    context_s=0.0,
    knots=(1.0, 64.0, 128.0),
    knots_s=(0.0, 0.0, 0.0064),
    draft_s=0.0,
    draft_token_s=0.0,
    draft_request_s=0.0,
)


def test_prompts_that_come_as_answers_end_make_drafts_dear() -> None:
    survival = np.full((1, 1), 0.15)
    counts = np.array([32])
    chooser = Chooser(1, 1, KNEE)
    assert chooser.choices(counts, survival, 0, FACTORS).goodput.argmax() == 1
    chooser.expect(Expected(0, [0, 512, 0, 512], 32.0))
    found = chooser.choices(counts, survival, 0, FACTORS)
    assert found.seconds[0] == pytest.approx(0.010 + (32 + 512 - 64) * 1e-4 / 2)
    assert found.goodput.argmax() == 0
    assert found.drafts[1] == 0


def test_prompts_cost_the_same_for_each_token_where_all_tokens_cost_the_same() -> None:
    line = msgspec.structs.replace(KNEE, knots=(0.0, 1.0), knots_s=(0.0, 1e-4))
    survival = np.cumprod(np.full((1, 4), 0.7), axis=1)
    chooser = Chooser(4, 1, line)
    before = chooser.choices(np.array([8]), survival, 0, FACTORS).goodput
    chooser.expect(Expected(0, [300], 8.0))
    after = chooser.choices(np.array([8]), survival, 0, FACTORS).goodput
    assert 1 / after - 1 / before == pytest.approx(0.03 / 8, rel=1e-4)


def test_drafts_that_are_not_found_cost_and_bring_nothing() -> None:
    survival = np.cumprod(np.full((1, 4), 0.7), axis=1)
    chooser = Chooser(4, 1, KNEE)
    half = chooser.choices(np.array([8]), survival, 0, FACTORS, fill=0.5)
    assert half.drafts[4] == pytest.approx(16)
    assert half.tokens[4] == pytest.approx(8 + 4 * survival.sum())
    nothing = chooser.choices(np.array([8]), survival, 0, FACTORS, fill=0.0)
    assert nothing.goodput == pytest.approx(np.full(5, 8 / 0.010))
