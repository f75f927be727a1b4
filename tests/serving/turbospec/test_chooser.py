"""The chooser against all plans, tried one by one."""

import itertools
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.turbospec.closed_loop import KNEE
from tests.serving.turbospec.plain import plans

from crossdock.serving._native import Groups
from crossdock.serving.turbospec import CostModel, Work
from crossdock.serving.turbospec.chooser import Chooser, within
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
FACTORS = (1.0,) * 4
chances = st.floats(0.02, 0.98)


def groups_of(own: Sequence[float], positions: Sequence[float]) -> tuple[Groups, np.ndarray]:
    """Requests with these chances, and their survival by group and position."""
    groups = Groups(np.array(own), np.array(positions), 0.5)
    return groups, groups.survival.reshape(len(groups.members), len(positions))


def best_by_trying(
    counts: Sequence[int],
    survival: np.ndarray,
    context: int,
    prefill: int,
    factors: Sequence[float],
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
            seconds = float(np.array(COSTS.parts(work)) @ np.array(factors) - prompts * factors[1])
            best[length] = max(best[length], tokens / seconds)
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(chances, min_size=1, max_size=4),
    st.lists(chances, min_size=LONGEST, max_size=LONGEST),
    st.integers(0, 10_000),
    st.integers(0, 8),
    st.tuples(*[st.floats(0.3, 3)] * 4),
)
def test_no_plan_of_classes_is_better(
    own: list[float], positions: list[float], context: int, prefill: int, factors: tuple[float, ...]
) -> None:
    groups, survival = groups_of(own, positions)
    counts = [int(members) for members in groups.members]
    chooser = Chooser(LONGEST, COSTS)
    chooser.expect(Expected(prefill, (), 1.0))
    found = chooser.choices(groups, context, factors)
    tried = best_by_trying(counts, survival, context, prefill, factors)
    for length in range(LONGEST + 1):
        # Requests of a class have the same length in a plan, in a trial they may differ.
        assert found.goodput[length] <= tried[length] * (1 + 1e-9)
        verify = chooser.verify(length, groups)
        assert verify.max() <= length
        drafts = int(verify.sum())
        assert found.drafts[length] == drafts
        work = Work(len(own), len(own) + prefill + drafts, context, length)
        seconds = sum(f * p for f, p in zip(factors, COSTS.parts(work), strict=True))
        assert found.seconds[length] == pytest.approx(seconds)
    if max(counts) == 1:
        assert found.goodput == pytest.approx([tried[k] for k in range(LONGEST + 1)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(chances, min_size=1, max_size=60),
    st.lists(chances, min_size=1, max_size=9),
    st.integers(0, 100_000),
    st.tuples(*[st.floats(0.02, 100)] * 4),
    st.sampled_from((None, 0.002, 0.01, 0.1)),
    st.builds(
        Expected,
        st.integers(0, 40),
        st.lists(st.integers(0, 100), max_size=16),
        st.floats(1, 300),
    ),
    st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_it_is_what_plain_arithmetic_gives(
    own: list[float],
    positions: list[float],
    context: int,
    factors: tuple[float, ...],
    bound_s: float | None,
    prompts: Expected,
    fill: float,
) -> None:
    groups, survival = groups_of(own, positions)
    members = [(int(n), row.tolist()) for n, row in zip(groups.members, survival, strict=True)]
    expected = plans(COSTS, members, context, factors, bound_s or math.inf, prompts, fill)
    chooser = Chooser(len(positions), COSTS, bound_s)
    chooser.expect(prompts)
    found = chooser.choices(groups, context, factors, fill)
    assert found.worth == pytest.approx([worth for worth, _ in expected], rel=1e-11)
    # Of plans that are equally good to the last digits either may be taken.
    assert (found.worth < 0).tolist() == [worth < 0 for worth, _ in expected]
    assert found.goodput[found.worth >= 0] == pytest.approx(found.worth[found.worth >= 0])


def test_a_dip_in_goodput_does_not_end_the_search() -> None:
    # 5 tokens cost a step more, and up to 9 then cost the same.
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
    groups, _ = groups_of([0.97], [0.5] * 8)
    goodput = Chooser(8, costs).choices(groups, 0, FACTORS).goodput
    assert goodput[1] < goodput[0] * 1.001
    assert goodput.argmax() == 8


def test_requests_of_little_chance_are_not_verified() -> None:
    groups, _ = groups_of([0.05] * 8 + [0.95] * 2, [0.5] * 3)
    chooser = Chooser(3, COSTS)
    best = int(chooser.choices(groups, 0, FACTORS).goodput.argmax())
    verify = chooser.verify(best, groups)
    assert verify[:8].max() == 0
    assert verify[8:].min() > 0


def test_more_tokens_cost_what_the_line_says() -> None:
    chooser = Chooser(3, COSTS)
    assert chooser.token_s(4, 1, (1.0, 2.0, 1.0, 1.0)) == pytest.approx(0.006)
    assert math.isclose(chooser.token_s(5, 4, FACTORS), 0.0, abs_tol=1e-12)


def test_no_request_has_more_drafts_than_it_can_use() -> None:
    drafts = np.array([3, 0, 5], np.int64)
    assert within(drafts, None) == [3, 0, 5]
    assert within(drafts, [2, 4, 5]) == [2, 0, 5]
    with pytest.raises(ValueError, match="each of 3 numbers, not 2"):
        within(drafts, [2, 4])


def test_prompts_that_come_as_answers_end_make_drafts_dear() -> None:
    groups, _ = groups_of([0.15] * 32, [0.5])
    chooser = Chooser(1, KNEE)
    assert chooser.choices(groups, 0, FACTORS).goodput.argmax() == 1
    chooser.expect(Expected(0, [0, 512, 0, 512], 32.0))
    found = chooser.choices(groups, 0, FACTORS)
    assert found.seconds[0] == pytest.approx(0.010 + (32 + 512 - 64) * 1e-4 / 2)
    assert found.goodput.argmax() == 0
    assert found.drafts[1] == 0


def test_prompts_cost_the_same_for_each_token_where_all_tokens_cost_the_same() -> None:
    line = msgspec.structs.replace(KNEE, knots=(0.0, 1.0), knots_s=(0.0, 1e-4))
    groups, _ = groups_of([0.7] * 8, [0.5] * 4)
    chooser = Chooser(4, line)
    before = chooser.choices(groups, 0, FACTORS).goodput.copy()
    chooser.expect(Expected(0, [300], 8.0))
    after = chooser.choices(groups, 0, FACTORS).goodput
    assert 1 / after - 1 / before == pytest.approx(0.03 / 8, rel=1e-4)


def test_drafts_that_are_not_found_cost_and_bring_nothing() -> None:
    groups, survival = groups_of([0.7] * 8, [0.5] * 4)
    chooser = Chooser(4, KNEE)
    half = chooser.choices(groups, 0, FACTORS, fill=0.5)
    assert half.drafts[4] == pytest.approx(16)
    assert half.tokens[4] == pytest.approx(8 + 4 * survival.sum())
    nothing = chooser.choices(groups, 0, FACTORS, fill=0.0)
    assert nothing.goodput == pytest.approx(np.full(5, 8 / 0.010))
