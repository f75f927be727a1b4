"""`crossdock run logme`, on a real Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workloads.logme import deadly

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.logme import IllConditioned, LogME, command
from crossdock.workloads.logme.command import Options
from crossdock.workloads.logme.files import FileRefused
from crossdock.workloads.runner import EXIT_SOME_FAILED, record

pytestmark = pytest.mark.usefixtures("local_ray")

DICE = np.random.default_rng(8)
LABELS = DICE.integers(0, 3, 300)
GOOD = DICE.normal(size=(300, 10)) + 2 * np.eye(3, 10)[LABELS]
NOISE = DICE.normal(size=(300, 10))
WIDE = DICE.normal(size=(300, 350)) + np.eye(3, 350)[LABELS]
SUMMED = np.hstack([NOISE, GOOD, GOOD[:, :1] + NOISE[:, :1]])


def options(folder: Path, models: dict[str, Any], **more: Any) -> Options:
    """To score features that are saved for it."""
    for name, features in models.items():
        np.save(folder / f"{name}.npy", features)
    np.save(folder / "labels.npy", LABELS)
    return Options(
        features=tuple(folder / f"{name}.npy" for name in models),
        labels=folder / "labels.npy",
        **{"output": folder / f"run-{len(list(folder.glob('run-*')))}", **more},
    )


def scored(given: Options) -> dict[str, float]:
    assert command.main(given) == 0
    assert given.output is not None
    return {
        name: float(score) for name, score in record.load(given.output).result["scores"].items()
    }


@pytest.mark.parametrize("shards", [1, 7, 64])
def test_scores_are_those_of_one_process(tmp_path: Path, shards: int) -> None:
    models = {"noise": NOISE, "good": GOOD, "wide": WIDE, "sums": SUMMED}
    given = options(tmp_path, models, shards=shards)
    found = scored(given)
    for name, features in models.items():
        assert found[name] == pytest.approx(LogME().fit(features, LABELS).score_, abs=1e-9)
    assert given.output is not None
    table = record.load(given.output).tables["scores"]
    assert table.columns == ["model", "score", "N", "D", "rank", "note"]
    notes = {row[0]: row[-1] for row in table.rows}
    assert notes == {"noise": "by gram", "good": "by gram", "wide": "by kernel", "sums": "by root"}
    assert [row[1] for row in table.rows] == sorted((row[1] for row in table.rows), reverse=True)
    assert (given.output / "scores.png").stat().st_size > 1000


def test_a_killed_worker_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"good": GOOD}
    whole = scored(options(tmp_path, given, shards=3))
    monkeypatch.setattr(command, "summed", deadly.summed)
    assert scored(options(tmp_path, given, shards=3)) == whole
    assert (tmp_path / "good.killed").exists()


def test_what_fails_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    bad, flat = GOOD.copy(), np.ones((300, 4))
    bad[222, 3] = np.nan
    given = options(tmp_path, {"bad": bad, "good": GOOD, "flat": flat, "few": GOOD[:9]}, shards=3)
    (tmp_path / "torn.npy").write_bytes(b"torn")
    given = Options(**{**vars(given), "features": (*given.features, tmp_path / "torn.npy")})
    assert command.main(given) == EXIT_SOME_FAILED
    assert given.output is not None
    read = record.load(given.output)
    reasons = {row[0]: row[-1] for row in read.tables["scores"].rows}
    assert reasons.pop("good") == "by gram"
    assert "nan in row 222, column 3" in reasons["bad"]
    assert "same features" in reasons["flat"]
    assert "9 rows" in reasons["few"]
    assert "torn.npy cannot be read" in reasons["torn"]
    assert read.result["scores"].keys() == {"good"}


def test_intervals_and_names_of_labels(tmp_path: Path) -> None:
    given = options(tmp_path, {"good": GOOD, "noise": NOISE}, shards=6, jackknife=6)
    (tmp_path / "labels.txt").write_text("".join(f"class {label}\n" for label in LABELS))
    given = Options(**{**vars(given), "labels": tmp_path / "labels.txt"})
    scored(given)
    assert given.output is not None
    read = record.load(given.output)
    for _, score, low, high, *_ in read.tables["scores"].rows:
        assert low < score < high
    assert list(read.result["evidences"]["good"]) == ["class 0", "class 1", "class 2"]
    model = LogME(jackknife=6)
    for rows in np.split(np.arange(300), 6):
        model.partial_fit(GOOD[rows], LABELS[rows])
    row = read.tables["scores"].rows[0]
    np.testing.assert_allclose(row[2:4], model.interval_)  # type: ignore[arg-type]


def test_a_solver_that_is_asked_for_is_kept_to(tmp_path: Path) -> None:
    with pytest.warns(IllConditioned):
        scored(options(tmp_path, {"sums": SUMMED}, solver="gram"))
    compat = scored(options(tmp_path, {"good": GOOD}, solver="root", mode="compat"))
    expected = LogME(mode="compat").fit(GOOD, LABELS).score_
    assert compat["good"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("changed", ["features", "labels"])
def test_a_resumed_run_sees_files_that_have_changed(tmp_path: Path, changed: str) -> None:
    given = options(tmp_path, {"good": GOOD, "noise": NOISE}, shards=3)
    scored(given)
    other = NOISE if changed == "features" else np.roll(LABELS, 1)
    np.save(tmp_path / ("good.npy" if changed == "features" else "labels.npy"), other)
    again = scored(Options(**{**vars(given), "resume": True}))
    features, labels = (other, LABELS) if changed == "features" else (GOOD, other)
    assert again["good"] == pytest.approx(LogME().fit(features, labels).score_, abs=1e-9)
    assert given.output is not None
    assert record.load(given.output).resumed == (3 if changed == "features" else 0)


def test_names_of_files_are_those_of_the_folder_that_the_run_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "a folder \u6a21\u578b #1 100%"
    here.mkdir()
    options(here, {"good": GOOD})
    monkeypatch.chdir(here)
    given = Options(features=(Path("good.npy"),), labels=Path("labels.npy"), output=Path("run"))
    assert scored(given).keys() == {"good"}


def test_what_cannot_run_is_refused_before_it_does(tmp_path: Path) -> None:
    given = options(tmp_path, {"good": GOOD})
    for more, error, message in (
        ({"shards": 0}, ArgumentError, "--shards 0"),
        ({"jackknife": 9}, ArgumentError, "--jackknife 9 is more than the 8 --shards"),
        ({"labels": tmp_path / "none.npy"}, FileRefused, r"none\.npy"),
        ({"features": given.features * 2}, ArgumentError, "given twice"),
    ):
        with pytest.raises(error, match=message):
            command.main(Options(**{**vars(given), **more}))
    assert given.output is not None
    assert not given.output.exists()
