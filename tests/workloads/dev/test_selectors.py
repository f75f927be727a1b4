"""The table of selectors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.workloads.dev.cases import arrays

from crossdock.workloads.dev import DEV, baselines, selectors
from crossdock.workloads.dev.candidate import Candidate, losses_of


def candidate(quality: float) -> Candidate:
    given = arrays(quality=quality)
    probabilities = given.pop("source_validation_probabilities")
    losses = losses_of(probabilities, given.pop("source_validation_labels"), "cross-entropy")
    return Candidate(source_validation_losses=losses, **given)


def test_scores_are_those_of_the_functions() -> None:
    given, dev = candidate(2.0), DEV(folds=2)
    found = selectors.judge(given, dev)
    assert not hasattr(dev, "ratios_"), "the settings were fitted"
    dev.fit(given.source_train_features, given.target_features)
    features, losses = given.source_validation_features, given.source_validation_losses
    rows = given.target_probabilities
    assert rows is not None
    assert found.scores == {
        "dev": dev.risk(features, losses).risk,
        "iwcv": baselines.iwcv(dev.weights(features), losses),
        "source": losses.mean(),
        "entropy": baselines.entropy(rows),
        "infomax": baselines.infomax(rows),
        "snd": baselines.snd(rows),
        "bnm": baselines.bnm(rows),
    }
    assert found.risk == dev.risk(features, losses)
    assert found.discriminator_accuracy == dev.accuracies_[0] > 0.5
    assert found.target_accuracy == given.target_accuracy


def test_selectors_prefer_the_model_that_is_plainly_better() -> None:
    found = [selectors.judge(candidate(quality), DEV(folds=2)) for quality in (0.0, 6.0)]
    # SND counts neighbours: it may like predictions that are all alike, right or wrong.
    for name in selectors.SELECTORS.keys() - {"snd"}:
        scores = [each.scores[name] for each in found]
        assert selectors.order(name, scores) == [1, 0], name


def test_selectors_of_predictions_do_without_a_candidate_that_has_none() -> None:
    scores = selectors.judge(replace(candidate(2.0), target_probabilities=None), DEV()).scores
    unfit = {name for name, score in scores.items() if math.isnan(score)}
    assert unfit == {"entropy", "infomax", "snd", "bnm"}


def test_a_refused_candidate_has_no_score_by_dev_but_by_others() -> None:
    given = candidate(2.0)
    losses = given.source_validation_losses.copy()
    losses[0] = np.nan
    found = selectors.judge(replace(given, source_validation_losses=losses), DEV())
    assert found.risk.status == "refused"
    assert math.isnan(found.scores["dev"])
    assert math.isfinite(found.scores["snd"])


@pytest.mark.parametrize(("name", "best_first"), [("dev", [1, 3, 0]), ("snd", [0, 3, 1])])
def test_order_leaves_out_whom_it_cannot_judge(name: str, best_first: list[int]) -> None:
    assert selectors.order(name, [3.0, 1.0, math.nan, 2.0, math.inf]) == best_first


def test_equal_scores_stay_in_order() -> None:
    assert selectors.order("bnm", [1.0, 2.0, 1.0, 2.0]) == [1, 3, 0, 2]
