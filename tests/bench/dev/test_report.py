"""What the report makes of a record."""

from __future__ import annotations

from crossdock.bench.dev.report import reasons
from crossdock.bench.dev.trials import Scored, Trial


def test_a_refused_candidate_counts_once_for_each_discriminator() -> None:
    few = "effective sample size 3.1 of 80 is below 10: a few samples carry all weight"
    candidates = [
        Scored(name=name, accuracy=0.5, scores={}, refused=refused)
        for name, refused in (
            ("a", {"DEV, MLP, CE": few, "DEV, MLP, 0-1": few, "DEV, logistic, CE": few}),
            ("b", {"DEV, MLP, CE": "effective sample size 1 of 80 is below 10: a few"}),
            ("c", {"DEV, MLP, CE": "constant weights (all 1): collapsed"}),
            ("d", {}),
        )
    ]
    assert reasons([Trial(task="biased", seed=0, candidates=candidates, seconds={})]) == {
        "DEV, MLP: effective sample size": 2,
        "DEV, logistic: effective sample size": 1,
        "DEV, MLP: constant weights": 1,
    }
