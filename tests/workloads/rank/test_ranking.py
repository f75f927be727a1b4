"""The order, the agreement with accuracies, and the files of these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank import Scored, picture, ranking
from crossdock.workloads.rank.ranking import Entry

VALUES = {"a": 0.2, "b": 0.9, "c": None, "d": 0.5, "e": -1.0}
ACCURACIES = {"a": 0.7, "b": 0.95, "c": 0.9, "d": None, "e": 0.8}
ENTRIES = [
    Entry(name="failed", reason="no such thing"),
    *(
        Entry(
            name=name,
            width=8,
            accuracy=ACCURACIES[name],
            seconds=2.0,
            scores={"gbc": Scored(value, 0.1, 0.5, "" if value else "too few")},
        )
        for name, value in VALUES.items()
    ),
]


def test_the_best_come_first_and_failures_last() -> None:
    titles, rows = ranking.ranking_rows(ENTRIES, "gbc")
    assert titles[:3] == ["rank", "model", "GBC"]
    assert [row[:3] for row in rows] == [
        [1, "b", 0.9],
        [2, "d", 0.5],
        [3, "a", 0.2],
        [4, "e", -1.0],
        [None, "c", None],
        [None, "failed", None],
    ]
    assert [row[-1] for row in rows[-2:]] == ["too few", "failed: no such thing"]


def test_agreement_is_the_weighted_tau_over_models_that_have_both() -> None:
    ((title, tau, models, seconds),) = ranking.agreement_rows(ENTRIES, ["gbc"])
    expected = stats.weightedtau([0.7, 0.95, 0.8], [0.2, 0.9, -1.0]).statistic
    assert (title, models, seconds) == ("GBC", 3, 0.5)
    assert tau == pytest.approx(float(expected))


def test_two_models_do_not_make_an_agreement() -> None:
    ((_, tau, models, _),) = ranking.agreement_rows(ENTRIES[:3], ["gbc"])
    assert (tau, models) == (None, 2)
    assert ranking.weighted_tau([0.5, 0.5, 0.5], [1, 2, 3]) is None


def test_reasons_are_gathered() -> None:
    assert ranking.remark_rows(ENTRIES, ["gbc"]) == [["GBC", "too few", "c"]]


def test_seconds_stand_beside_those_of_features() -> None:
    titles, rows = ranking.score_rows(ENTRIES, ["gbc"], "gbc", "seconds")
    assert titles == ["model", "features", "GBC"]
    assert rows[0] == ["b", 2.0, 0.5]


def test_the_picture_has_a_point_for_each_known_accuracy() -> None:
    (axis,) = picture.scatter(ENTRIES, ["gbc"]).axes
    line = axis.get_lines()[0]
    assert sorted(np.asarray(line.get_xdata()).tolist()) == [-1.0, 0.2, 0.9]
    assert axis.get_xlabel() == "GBC"


def test_accuracies_are_read(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("model,accuracy\nfirst,0.5\n\n second , 0.25\n")
    assert ranking.read_accuracies(path) == {"first": 0.5, "second": 0.25}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,0.5\nb", "line 2: 'b' is no model and number"),
        ("a,0.5\nb,good", "line 2: 'b,good' is no model and number"),
        ("a,0.5\na,0.6", "line 2: a has 0.6"),
        ("a,nan", "line 1: a has nan"),
    ],
)
def test_bad_accuracies_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "known.csv"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=said):
        ranking.read_accuracies(path)
    with pytest.raises(ArgumentError, match="cannot be read"):
        ranking.read_accuracies(tmp_path / "lost.csv")
