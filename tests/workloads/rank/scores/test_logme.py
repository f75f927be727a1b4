"""LogME among the scores: the estimator's own value, and its refusals as reasons."""

from __future__ import annotations

import numpy as np
import pytest
from tests.workloads.rank.problems import problem

from crossdock.workloads.logme import LogME
from crossdock.workloads.rank import score_features


def test_it_is_the_estimators() -> None:
    own = problem()
    fitted = LogME().fit(own.features, own.labels)
    scored = score_features(own.features, own.labels, scores=["logme"])["logme"]
    assert scored.value == pytest.approx(fitted.score_, rel=1e-9)
    assert scored.half_width is not None
    assert scored.half_width > 0
    assert scored.reason == ""


def test_what_it_refuses_is_the_reason() -> None:
    scored = score_features(np.ones((20, 3)), np.arange(20) % 2, scores=["logme"])["logme"]
    assert scored.value is None
    assert "features" in scored.reason


def test_features_that_squares_do_not_tell_apart_leave_a_note() -> None:
    own = problem()
    nearly = np.hstack([own.features, own.features[:, :1] * (1 + 1e-9)])
    scored = score_features(nearly, own.labels, scores=["logme"])["logme"]
    assert scored.value is not None
    assert "squares do not tell" in scored.reason
