"""The bench of LogME, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.programs import run_program
from tests.workloads.logme.published import published

from crossdock.bench import logme, logme_data, logme_memory, logme_training
from crossdock.bench.baselines import logme_direct
from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import OURS, load
from crossdock.proxy.errors import ArgumentError

SMALL: dict[str, Any] = {
    "samples": 400,
    "dimension": 12,
    "classes": 4,
    "rounds": 2,
    "folds": 2,
    "iterations": 5,
    "epochs": 1,
    "streamed": "400",
    "at_once": "400",
    "rows": 200,
}


def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files: dict[str, Any] = {"json": tmp_path / "a.json", "plot": tmp_path / "a.png"}
    assert logme.main(logme.Options(**SMALL, **files)) == 0
    record = load(tmp_path / "a.json")
    race = [series for series in record.series if series.point["what"] == logme.TIME]
    assert [series.contender for series in race] == [
        OURS,
        logme.COMPAT,
        logme.DIRECT,
        logme.PUBLISHED,
        logme.VALIDATED,
        logme.TUNED,
    ]
    busy = [series for series in record.series if series.point["what"] == logme.CPU]
    assert [series.contender for series in busy] == [series.contender for series in race]
    assert all(len(series.rounds) == 2 for series in (*race, *busy))
    assert [series.wrong for series in race] == [0, 0, None, None, None, None]
    peaks = [(s.contender, s.point["samples"]) for s in record.series if s.bytes]
    assert peaks == [(OURS, 400), (logme.DIRECT, 400)]
    assert record.ratio(race[2], OURS) is not None
    shown = capsys.readouterr().out
    assert "wrong: 0 in 2 checked series" in shown
    assert "accuracies: cross-validated" in shown
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_wrong_score_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = logme_direct.score
    monkeypatch.setattr(logme_direct, "score", lambda *args, **more: right(*args, **more) + 2e-9)
    wrong = [series.wrong for series in logme.race(logme.Options(**SMALL), [], lambda _: None)]
    assert wrong[:2] == [2, 2]


def test_baselines_are_the_published_formula() -> None:
    data = logme_data.made(500, 20, 5)
    features = data.features.astype(float)
    expected = published(features, np.eye(5)[data.labels]).score
    for decompose in (logme_direct.of_features, logme_direct.of_square):
        assert abs(logme_direct.score(features, data.labels, decompose) - expected) < 1e-10


def test_parts_are_of_one_kind_and_differ() -> None:
    parts = list(logme_data.streamed(500, 20, 5, 200))
    assert [len(part.labels) for part in parts] == [200, 200, 100]
    assert all((part.weights == parts[0].weights).all() for part in parts)
    assert not (parts[0].inputs[:100] == parts[2].inputs[:100]).any()
    assert set(parts[2].labels) == set(range(5))


def test_training_learns_what_there_is() -> None:
    data = logme_data.made(1200, 30, 3)
    assert logme_training.cross_validated(data.features, data.labels, 3, 50) > 0.7
    untrained = logme_training.fine_tuned(data.inputs, data.labels, data.weights, 0)
    assert untrained < 0.6
    assert logme_training.fine_tuned(data.inputs, data.labels, data.weights, 5) > 0.7


def test_memory_is_that_of_a_process_alone() -> None:
    """Streamed it does not grow with the samples; at once it does."""
    wide: dict[str, int] = {"dimension": 64, "classes": 3, "rows": 2000}
    less, more = (
        [logme_memory.measured(way, n, deadline_s=60, **wide) for n in (6000, 60_000)]
        for way in (logme_memory.STREAMED, logme_memory.DIRECT)
    )
    assert abs(less[1].peak_bytes - less[0].peak_bytes) < 4 << 20
    assert more[1].peak_bytes - more[0].peak_bytes > 54_000 * 64 * 8
    assert less[0].score != more[0].score, "parts have samples of their own"
    with pytest.raises(BenchFailed, match=r"nowhere failed: (?s:.*)KeyError"):
        logme_memory.measured("nowhere", 10, deadline_s=60, **wide)
    with pytest.raises(BenchFailed, match="raise --deadline-s"):
        logme_memory.measured(logme_memory.STREAMED, 10, deadline_s=0.01, **wide)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": 1}, "classes is 1"),
        ({"dimension": 500}, "dimension is 500"),
        ({"rounds": 0}, "rounds is 0"),
        ({"rows": 3}, "rows is 3"),
        ({"streamed": "400,x"}, "streamed is '400,x'"),
        ({"at_once": "11"}, "at-once has 11"),
    ],
)
def test_bad_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        logme.Options(**{**SMALL, **given})


def test_the_command_reaches_it() -> None:
    program = (
        "import json, sys; from crossdock.deploy import cli;"
        "_, node, _ = cli.find('', cli.COMMANDS, ['bench', 'logme']);"
        "sys.stdout.write(json.dumps(node.module))"
    )
    assert json.loads(run_program(program).stdout) == "crossdock.bench.logme"
