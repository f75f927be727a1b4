"""A tiny bench: no accuracy is judged, only that all compete, are told, kept and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossdock.bench import partial_da
from crossdock.bench.partial_da import Options, report, trials
from crossdock.bench.partial_da.trials import CONTENDERS, Part, Trial
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da import METHODS


def made(method: str, seed: int, last: float, **given: Any) -> Trial:
    settings: dict[str, Any] = {
        "shift": "mild-noise",
        "kept": [1, 2],
        "accuracy": {"last": last, "source validation": 0.5, "oracle": 0.9},
        "source_accuracy": 0.9,
        "auroc": None,
        "seconds": 1.0,
    }
    return Trial(method=method, seed=seed, **{**settings, **given})


def test_all_methods_compete() -> None:
    assert list(CONTENDERS) == list(METHODS)


def test_a_bench_is_told_saved_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    given = Options(
        shifts="mild-style",
        methods="source-only,etn,pada",
        seeds=2,
        steps=10,
        keep=tmp_path / "keep",
        json=file,
        plot=picture,
    )
    assert partial_da.main(given) == 0
    first = capsys.readouterr().out
    for words in ("held: etn beats source-only on mild-style", "AUROC of etn's weights"):
        assert words in first
    assert picture.stat().st_size > 0
    saved = json.loads(file.read_bytes())
    assert [(one["method"], one["seed"]) for one in saved["trials"]] == [
        (method, seed) for seed in range(2) for method in ("source-only", "etn", "pada")
    ]
    ran: list[Part] = []

    def counted(part: Part) -> Trial:
        ran.append(part)
        return trials.trial(part)

    monkeypatch.setattr(partial_da, "trial", counted)
    (gone,) = (tmp_path / "keep").glob("mild-style-1-*etn*")
    gone.unlink()
    assert partial_da.main(given) == 0
    assert [(part.method, part.draw.seed) for part in ran] == [("etn", 1)]
    again = json.loads(file.read_bytes())["trials"]
    for one, other in zip(saved["trials"], again, strict=True):
        assert one["accuracy"] == other["accuracy"]


def test_gains_are_paired_by_seed_and_held_only_above_zero() -> None:
    gains = np.array([0.1, 0.2, 0.3, 0.2])
    told = [made("source-only", seed, 0.1 * seed) for seed in range(4)]
    told += [made("san", seed, 0.1 * seed + gains[seed], auroc=0.8) for seed in (3, 1, 2, 0)]
    told += [made("etn", seed, 0.1 * seed - 0.05, auroc=0.95) for seed in range(4)]
    rows = {str(row["method"]): row for row in report.rows(told)}
    assert rows["san"]["ahead"] == pytest.approx(20)
    assert rows["san"]["better"] == "4/4"
    low, high = report.interval(gains)
    assert 0.1 <= low < 0.2 < high <= 0.3
    assert rows["etn"]["from"] == rows["etn"]["to"] == pytest.approx(-5)
    assert rows["san"]["DEV"] is None, "where DEV refused, nothing is told"
    assert rows["san"]["source"] == pytest.approx(50)
    said = list(report.verdicts(told))
    assert said[0].startswith("# held: san beats source-only on mild-noise (+")
    assert said[1] == "# not held: etn beats source-only on mild-noise (-5.0 to -5.0 points)"
    assert said[2] == "# held: AUROC of etn's weights on mild-noise is 0.950, asked 0.9"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shifts": "mild-noise,fog"}, "shifts has 'fog'; choose from mild-rotation"),
        ({"methods": "source-only,mmd"}, "methods has 'mmd'"),
        ({"methods": "etn"}, "source-only must be among them"),
        ({"classes": 10}, "classes is 10, but must be between 1 and 9"),
        ({"seeds": 1}, "seeds is 1"),
    ],
)
def test_options_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Options(**given)
