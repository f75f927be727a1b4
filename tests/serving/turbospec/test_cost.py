"""The cost model: a sum that grows with each feature."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import CostModel, Work
from crossdock.serving.turbospec.cost import rough

COSTS = CostModel(
    step_s=0.01,
    request_s=1e-4,
    context_s=1e-7,
    knots=(1.0, 64.0, 128.0),
    knots_s=(0.0, 0.001, 0.009),
    draft_s=0.002,
    draft_token_s=0.0005,
    draft_request_s=1e-5,
    draft_first_request_s=2e-5,
)

works = st.builds(
    Work,
    requests=st.integers(1, 512),
    tokens=st.integers(1, 20_000),
    context=st.integers(0, 10**7),
    draft_length=st.integers(0, 16),
)


def test_a_step_is_the_sum_of_its_parts() -> None:
    work = Work(requests=10, tokens=96, context=1000, draft_length=3)
    parts = [0.01 + 10e-4, 0.005, 1e-4, 0.002 + 10 * 2e-5 + 2 * (0.0005 + 10e-5)]
    assert COSTS.parts(work) == pytest.approx(parts)
    assert COSTS.seconds(work) == pytest.approx(sum(parts))


def test_no_draft_costs_no_drafter() -> None:
    assert COSTS.parts(Work(4, 4, 0, 0))[3] == 0


def test_the_last_slope_goes_on() -> None:
    assert COSTS.parts(Work(1, 1128, 0, 0))[1] == pytest.approx(0.009 + 1000 * 0.008 / 64)


@given(works, st.sampled_from(("requests", "tokens", "context", "draft_length")))
def test_more_work_never_costs_less(work: Work, feature: str) -> None:
    more = Work(**{f: getattr(work, f) + (f == feature) for f in Work.__slots__})
    assert COSTS.seconds(more) >= COSTS.seconds(work)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"step_s": -1.0}, "step_s of a cost model is -1.0"),
        ({"draft_token_s": math.nan}, "draft_token_s of a cost model is nan"),
        ({"knots": (1.0, 1.0, 2.0)}, "knots of a cost model must rise"),
        ({"knots": (1.0, 2.0)}, "a time for each, got 2 and 3"),
        ({"knots": (5.0,), "knots_s": (1.0,)}, "two knots or more"),
        ({"knots_s": (0.0, 0.5, 0.4)}, "knots_s of a cost model must rise"),
        ({"knots_s": (0.0, 0.5, math.inf)}, "knots_s of a cost model must rise"),
        ({"step_s": 0.0, "knots_s": (0.0, 0.0, 0.0)}, "takes no time at all"),
    ],
)
def test_an_impossible_model_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        msgspec.structs.replace(COSTS, **change)


def test_a_rough_guess_takes_as_long_as_the_step_it_was_made_of() -> None:
    assert rough(0.03, 1).seconds(Work(1, 1, 0, 0)) == pytest.approx(0.03, rel=1e-6)
    assert np.all(np.diff(rough(0.03, 1).line()[1]) > 0)


def test_a_first_guess_by_a_step_of_many_tokens_takes_them_out() -> None:
    guess = rough(0.03, 640)
    assert guess.seconds(Work(1, 640, 0, 0)) == pytest.approx(0.03, rel=1e-6)
    assert guess.seconds(Work(1, 1, 0, 0)) == pytest.approx(0.01, rel=0.01)
