"""A tiny contest: no accuracy is judged, only that all compete fairly and all is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from crossdock.bench import b_tuning, rank_zoo
from crossdock.bench.b_tuning_trials import (
    CONTENDERS,
    DISTILLED,
    FIXED,
    PLAIN,
    SINGLE,
    Contest,
    Place,
    Plan,
    Trial,
    drawn,
    evidence_on,
    zoo,
)
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.evidence import best

DATA = rank_zoo.digits()
MODELS = zoo(DATA, 4)
PLAN = Plan(steps=6, rates=(0.003, 0.03))


def trials(student: Place, data: rank_zoo.Digits = DATA) -> list[Trial]:
    return list(Contest(data, MODELS, PLAN, student).trials(30, 2))


@pytest.fixture(scope="module")
def middle() -> list[Trial]:
    return trials("middle")


def test_all_but_one_may_spend_what_b_tuning_does(middle: list[Trial]) -> None:
    for seed in range(2):
        spent = {trial.contender: trial for trial in middle if trial.seed == seed}
        assert set(spent) == set(CONTENDERS)
        ours = spent.pop(FIXED).operations
        assert spent.pop(PLAIN).operations < ours
        for trial in spent.values():
            assert ours <= trial.operations <= ours * (1 + 1 / trial.epochs)
        assert spent[DISTILLED].epochs < spent[SINGLE].epochs


def test_each_tunes_the_model_that_it_should(middle: list[Trial]) -> None:
    ranked = best(MODELS, evidence_on(DATA.train, MODELS), 4)
    for seed in range(2):
        tuned = {trial.contender: trial.model for trial in middle if trial.seed == seed}
        assert tuned.pop(SINGLE) == ranked[0].name
        assert set(tuned.values()) == {ranked[2].name}


def test_the_best_student_has_no_better_model_as_a_rival() -> None:
    assert {trial.contender for trial in trials("best")} == set(CONTENDERS) - {SINGLE}


def test_test_pictures_decide_nothing(middle: list[Trial]) -> None:
    shifted = rank_zoo.Half(DATA.test.pictures, (DATA.test.digits + 1) % 10)
    again = trials("middle", rank_zoo.Digits(DATA.source, DATA.train, shifted))
    for one, other in zip(middle, again, strict=True):
        assert (one.learning_rate, one.strength) == (other.learning_rate, other.strength)
    assert [t.accuracy for t in middle] != [t.accuracy for t in again]


def test_pictures_are_drawn_by_the_seed_with_like_numbers_of_each_digit() -> None:
    draw = drawn(DATA, MODELS, 50, 0)
    assert np.bincount(draw.train.digits).tolist() == [5] * 10
    assert len(draw.others.digits) == len(DATA.train.digits) - 50
    other = drawn(DATA, MODELS, 50, 1)
    assert not np.array_equal(draw.train.pictures, other.train.pictures)
    scores = [draw.evidence[model.name].score for model in draw.ranked]
    assert scores == sorted(scores, reverse=True)


def test_intervals_are_students() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.9, 0.3])
    mean, half = b_tuning.interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_differences_are_paired(middle: list[Trial]) -> None:
    rows = {str(row["contender"]): row for row in b_tuning.rows(middle)}
    ours, rival = (
        np.array([t.accuracy for t in middle if t.contender == name]) for name in (FIXED, PLAIN)
    )
    low, high = stats.ttest_rel(ours, rival).confidence_interval(0.95)
    row = rows[PLAIN]
    assert (row["from"], row["to"]) == pytest.approx((100 * low, 100 * high), nan_ok=True)
    assert "ahead" not in rows[FIXED]


def test_a_run_saves_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "b_tuning.json", tmp_path / "b_tuning.png"
    given = b_tuning.Options(
        samples="20", seeds=2, models=3, steps=4, rates=(0.01,), json=file, plot=picture
    )
    assert b_tuning.main(given) == 0
    saved = json.loads(file.read_text())
    assert len(saved["trials"]) == 2 * (len(CONTENDERS) + len(CONTENDERS) - 1)
    printed = [line for line in capsys.readouterr().out.splitlines() if line[:1] != "#"]
    assert len(printed) == len(saved["series"]) == 2 * len(CONTENDERS) - 1
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"samples": "9"}, "samples has 9, but 10 is the least"),
        ({"samples": "449"}, "samples has 449, but 400 is the most"),
        ({"seeds": 1}, "seeds is 1"),
        ({"models": 99}, "models is 99"),
        ({"rates": (0.0,)}, "rates is 0.0"),
    ],
)
def test_bad_options_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        b_tuning.Options(**given)  # type: ignore[arg-type]
