"""`crossdock bench rank`: its tables, from a record that is made up; the zoo has its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossdock.bench import rank, rank_zoo
from crossdock.bench.rank import FINE_TUNING, LOGISTIC, Judged, Options, RankRecord
from crossdock.workloads.rank import SCORES
from crossdock.workloads.rank.ranking import weighted_tau

ACCURACIES = {"good": (0.9, 0.8), "fair": (0.7, 0.7), "poor": (0.5, 0.3), "bad": (0.2, 0.2)}
VALUES = {"good": 2.0, "fair": 3.0, "poor": 1.0, "bad": 0.0}


def record() -> RankRecord:
    names = [*SCORES, LOGISTIC]
    judged = [
        Judged(
            name=name,
            accuracies=list(accuracies),
            seconds=dict.fromkeys([*names, "features", FINE_TUNING], 0.25),
            scores=dict.fromkeys(names, VALUES[name]) | {"leep": None},
        )
        for name, accuracies in ACCURACIES.items()
    ]
    judged[0].scores["leep"] = judged[1].scores["leep"] = 1.0
    return RankRecord(question="rank", settings=Options().settings(), judged=judged)


def row(lines: list[str], first: str) -> list[str]:
    (found,) = [line.split() for line in lines if line.strip().startswith(first + " ")]
    return found


def test_the_report_has_agreement_cost_and_what_the_first_choice_loses() -> None:
    lines = list(rank.lines(record()))
    tau = weighted_tau([0.85, 0.7, 0.4, 0.2], [2.0, 3.0, 1.0, 0.0])
    assert row(lines, "GBC") == ["GBC", f"{tau:.3f}", "4", "0.250000", "fair", "15.00"]
    assert row(lines, "LEEP")[1:3] == ["-", "2"]
    assert row(lines, "logistic regression")[2:] == [f"{tau:.3f}", "4", "0.250000", "fair", "15.00"]
    assert row(lines, "fine-tuning")[-3:] == ["0.250000", "-", "-"]


def test_models_stand_in_the_order_of_their_accuracy() -> None:
    lines = [line.split() for line in rank.lines(record())]
    names = [line[0] for line in lines if line and line[0] in ACCURACIES]
    assert names == ["good", "fair", "poor", "bad"]
    (good,) = [line for line in lines if line[0] == "good"]
    assert good[1:3] == ["85.00", "7.07"]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    rank.drawn(record(), tmp_path / "rank.png")
    assert (tmp_path / "rank.png").stat().st_size > 10_000


def test_the_baseline_sees_the_features_and_not_the_head() -> None:
    data = rank_zoo.digits()
    recipe = rank_zoo.Recipe("digit", 32, 16, 2)
    untrained = rank_zoo.network(recipe.width, recipe.dimension, 10)
    features = rank.logistic(untrained, data)
    assert 0.5 < features < 0.95
    head = untrained.get_submodule("head")
    for parameter in head.parameters():
        parameter.data.zero_()
    assert rank.logistic(untrained, data) == pytest.approx(features)
