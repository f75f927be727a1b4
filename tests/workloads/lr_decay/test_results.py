"""Tables and pictures of studies whose values are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from crossdock.workloads.lr_decay import picture, results
from crossdock.workloads.lr_decay.checks import OF_DATA, OF_PATTERNS
from crossdock.workloads.lr_decay.results import Study
from crossdock.workloads.lr_decay.schedule import schedules
from crossdock.workloads.runner import Value, grid

SCHEDULES = schedules(large=0.2, small=0.01, decays=(1, 2), epochs=4)


def value(noise: float, seed: int) -> Value:
    """Decays end at 0.9 on everything, constants at 0.6; some of it moves with the seed."""
    ends = np.array([0.6, 0.6, 0.9, 0.9]) + 0.01 * seed
    curve = np.full((4, 5), 0.5)
    curve[:, -1] = ends
    stages = np.array([[0.4, math.nan, 0.5]] * 2 + [[0.4, 0.7, 0.75]] * 2)
    fitted = curve.copy()
    fitted[:, -1] = [0.2 + noise, 0.8, 0.5, 0.5]
    return {
        "test": curve,
        "probe simple": curve,
        "probe complex": curve,
        "noise fit": fitted,
        "loss": np.ones((4, 4)),
        "transfer shares simple": stages,
        "transfer shares complex": stages + np.array([0.0, 0.0, 0.1]),
        "diverged": {},
    }


@pytest.fixture
def study() -> Study:
    points = grid({"noise": (0.1, 0.3), "seed": range(5)})
    return Study(SCHEDULES, [(one, value(**one)) for one in points], OF_PATTERNS)


def test_checks_are_judged_over_the_grid(study: Study) -> None:
    columns, rows = results.checks(study)
    assert columns[:3] == ["claim", "verdict", "mean"]
    assert {row[1] for row in rows} == {"held"}
    means = [row[2] for row in rows]
    assert means == pytest.approx([0.42, 0.3, 0.4, 0.3, 0.25, 0.1])
    assert [one["mean"] for one in results.outcomes(study)] == pytest.approx(means)


def test_checks_are_judged_in_each_place_for_each_decay(study: Study) -> None:
    _, rows = results.checks_by_place(study)
    assert len(rows) == len(OF_PATTERNS) * 2 * 2
    spared = {tuple(row[1:3]): row[4] for row in rows if row[0].startswith("noise fit")}
    assert spared == pytest.approx(
        {
            ("noise=0.1", "decay at 1"): 0.5,
            ("noise=0.1", "decay at 2"): 0.5,
            ("noise=0.3", "decay at 1"): 0.3,
            ("noise=0.3", "decay at 2"): 0.3,
        }
    )


def test_ends_and_gains_are_means_over_seeds(study: Study) -> None:
    columns, rows = results.ends(study)
    assert columns[:3] == ["place", "schedule", "test"]
    assert [row[:2] for row in rows[:3]] == [
        ["noise=0.1", "constant large"],
        ["noise=0.1", "constant small"],
        ["noise=0.1", "decay at 1"],
    ]
    assert rows[0][2] == pytest.approx(0.62)
    assert 0.005 < rows[0][3] < 0.02
    assert rows[0][columns.index("noise fit")] == pytest.approx(0.3)
    _, rows = results.gains(study)
    assert rows[1][:3] == ["noise=0.1", "decay at 1", "shares complex"]
    assert rows[1][3:9:2] == pytest.approx([0.4, 0.3, 0.15])


def test_what_has_diverged_is_told_and_left_out(study: Study) -> None:
    point, broken = study.trials[0]
    broken["diverged"] = {"decay at 1": "the loss was nan"}
    for name, one in broken.items():
        if name != "diverged":
            one[2] = math.nan
    assert list(study.diverged()) == [("noise=0.1 seed=0, decay at 1", "the loss was nan")]
    _, rows = results.ends(study)
    assert rows[2][2] == pytest.approx(0.9 + 0.01 * 2.5), "the mean of the other four"
    assert point["seed"] == 0
    figure = picture.learning(study)
    assert len(figure.axes[0].lines) == 4


def test_pictures_show_all_schedules_in_all_places(study: Study, tmp_path: Path) -> None:
    learning, transfer = picture.learning(study), picture.transfer(study)
    assert len(learning.axes) == 2 * 4
    for axis in learning.axes:
        assert [line.get_label() for line in axis.lines] == study.names
    ends = [line.get_ydata()[-1] for line in learning.axes[0].lines]
    assert ends == pytest.approx([0.62, 0.62, 0.92, 0.92])
    assert [axis.get_title() for axis in transfer.axes] == [
        "shares simple: gain +- standard error",
        "shares complex: gain +- standard error",
    ]
    assert [bar.get_height() for bar in transfer.axes[1].patches[:2]] == pytest.approx([0.3, 0.15])
    for name, figure in (("learning", learning), ("transfer", transfer)):
        figure.savefig(tmp_path / name, format="png")
        assert (tmp_path / name).stat().st_size > 1000


def test_study_of_one_seed_has_no_intervals() -> None:
    trials = [({"noise": 0.1, "seed": 0}, value(0.1, 0))]
    for one in trials:
        one[1]["transfer other classes"] = one[1]["transfer shares simple"]
    study = Study(SCHEDULES, trials, OF_DATA)
    assert [row[1] for row in results.checks(study)[1]] == ["undecided"] * 3
    assert results.checks(study)[1][0][3:5] == [None, None]
    assert results.ends(study)[1][0][3] is None
    picture.learning(study)
    picture.transfer(study)
