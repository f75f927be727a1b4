"""DEV in a Ray Tune study."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import dev_risk
from crossdock.workloads.dev.tune import DevStopper, NothingChosen, choose, metrics

REPORTS = 6


def report(risk: float, error: float = 0.1, status: str = "ok", reason: str = "") -> dict[str, Any]:
    return {
        "dev_risk": risk,
        "dev_standard_error": error,
        "dev_status": status,
        "dev_reason": reason,
    }


REFUSED = report(math.nan, math.nan, "refused", "constant weights")


def test_metrics_are_what_the_stopper_reads() -> None:
    random = np.random.default_rng(0)
    good = metrics(dev_risk(random.lognormal(size=50), random.normal(size=50)))
    assert good["dev_status"] == "ok"
    assert not DevStopper()("a", good)
    bad = metrics(dev_risk(np.ones(50), np.ones(50)))
    stopper = DevStopper(refusals=1)
    assert stopper("a", bad)
    assert stopper.ended["a"].startswith("refused 1 times in a row: constant weights")


def test_refusals_must_be_in_a_row() -> None:
    stopper = DevStopper(refusals=2)
    assert [stopper("a", one) for one in (REFUSED, report(1.0), REFUSED, REFUSED)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_trial_that_is_clearly_worse_ends_after_the_grace() -> None:
    stopper = DevStopper(margin=2.0, grace=2)
    for _ in range(3):
        assert not stopper("good", report(1.0))
    assert not stopper("bad", report(5.0)), "within the grace"
    assert stopper("bad", report(1.29)), "2 * sqrt(0.1^2 + 0.1^2) is 0.283"
    assert stopper.ended["bad"] == "risk 1.29 at report 2 is more than 0.2828 above 1"
    assert [stopper("unsure", report(risk)) for risk in (1.2, 1.28)] == [False, False]
    assert not stopper.stop_all()


def test_trials_are_compared_at_the_same_age() -> None:
    stopper = DevStopper(grace=1)
    for risk in (5.0, 3.0, 1.0):
        assert not stopper("old", report(risk))
    assert not stopper("young", report(4.0))
    assert not stopper("young", report(3.1))
    assert stopper("young", report(2.9))


def test_refused_rivals_are_no_measure() -> None:
    stopper = DevStopper(grace=1, refusals=9)
    stopper("refused", REFUSED)
    assert not stopper("only", report(9.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"margin": 0.0}, "margin is 0"), ({"grace": 0}, "grace is 0"), ({"refusals": 0}, "ls 0")],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        DevStopper(**settings)


def test_a_report_without_figures_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="trial a reports no dev_status"):
        DevStopper()("a", {"loss": 1.0})


def train(config: dict[str, Any]) -> None:
    """A model whose losses on source samples have the level of the trial."""
    random = np.random.default_rng(0)
    for _ in range(REPORTS):
        weights = random.lognormal(-0.1, 0.5, 200)
        losses = config["level"] + 0.1 * random.normal(size=200)
        if config["level"] < 0:
            raise ValueError("diverged")
        if config["level"] == 0:
            weights = np.ones(200)  # a discriminator that has collapsed
        tune.report(metrics(dev_risk(weights, losses)))


@pytest.mark.usefixtures("local_ray")
def test_a_study_takes_the_best_and_ends_the_rest(tmp_path: Path) -> None:
    tuner = tune.Tuner(
        train,
        param_space={"level": tune.grid_search([0.5, 3.0, 0.0, -1.0])},
        tune_config=tune.TuneConfig(metric="dev_risk", mode="min", reuse_actors=True),
        run_config=tune.RunConfig(
            stop=DevStopper(grace=2, refusals=2), storage_path=str(tmp_path), verbose=0
        ),
    )
    grid = tuner.fit()
    taken = choose(grid)
    assert taken.result.config == {"level": 0.5}
    assert taken.result.path == grid.get_best_result().path, "Tune itself finds the same"
    reports = {
        (grid[i].config or {})["level"]: (grid[i].metrics or {}).get("training_iteration", 0)
        for i in range(len(grid))
    }
    # The one that is worse may run ahead of the best, and then has nothing to be held against.
    assert (reports[0.5], reports[0.0], reports[-1.0]) == (REPORTS, 2, 0)
    reasons = sorted(taken.left_out.values())
    assert len(reasons) == 2
    assert reasons[0] == "failed: ValueError: diverged"
    assert reasons[1].startswith("refused: constant weights (all 1)")


def result(path: str, metrics: dict[str, Any] | None, error: str = "") -> tune.Result:
    cause = RuntimeError(f"traceback\n{error}") if error else None
    return tune.Result(metrics=metrics, checkpoint=None, error=cause, path=path)


def test_the_lowest_risk_is_chosen_and_the_rest_explained() -> None:
    fit = [result("a", report(2.0)), result("b", report(1.0)), result("c", report(3.0))]
    unfit = [
        result("d", REFUSED),
        result("e", {"loss": 0.0}),
        result("f", None),
        result("g", report(0.0), "it crashed"),
    ]
    taken = choose([*unfit, *fit])
    assert taken.result.path == "b"
    assert taken.left_out == {
        "d": "refused: constant weights",
        "e": "it reported no dev_status",
        "f": "it reported no dev_status",
        "g": "failed: it crashed",
    }
    with pytest.raises(NothingChosen, match=r"none of 4 trials has .*d: refused: constant .*; e:"):
        choose(unfit)
