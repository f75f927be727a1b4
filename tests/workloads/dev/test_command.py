"""A folder of candidates, ranked on a real Ray."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workloads.dev.cases import arrays

from crossdock.deploy.cli import main as crossdock
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import DEV, candidate, command, selectors
from crossdock.workloads.dev.command import Options
from crossdock.workloads.runner import EXIT_SOME_FAILED

pytestmark = pytest.mark.usefixtures("local_ray")


def folder_of(path: Path, **candidates: dict[str, np.ndarray]) -> Path:
    path.mkdir()
    for name, values in candidates.items():
        np.savez(path / f"{name}.npz", allow_pickle=False, **values)
    return path


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def test_good_candidates_are_ranked_by_all_selectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = folder_of(
        tmp_path / "models",
        bad=arrays(quality=0.0),
        good=arrays(quality=6.0),
        middling=arrays(quality=2.0),
    )
    options = Options(candidates=models, output=tmp_path / "run", folds=2)
    assert command.main(options) == 0
    found = result(tmp_path / "run")
    rows = found["tables"]["scores"]["rows"]
    assert [row[0] for row in rows] == ["good.npz", "middling.npz", "bad.npz"]
    assert found["tables"]["ranks"]["rows"][0][:4] == ["good.npz", 1, 1, 1]
    choices = dict(row[:2] for row in found["tables"]["choices"]["rows"])
    assert set(choices) == {one.title for one in selectors.SELECTORS.values()} | {"target labels"}
    assert choices["DEV"] == choices["BNM"] == choices["target labels"] == "good.npz"
    assert (tmp_path / "run" / "risks.png").stat().st_size > 1000
    assert "middling.npz" in capsys.readouterr().out


def test_a_resumed_run_sees_a_candidate_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = folder_of(tmp_path / "models", one=arrays(quality=0.0), two=arrays(quality=6.0))
    monkeypatch.chdir(tmp_path)
    options = Options(candidates=Path("models"), output=tmp_path / "run", folds=2)
    assert command.main(options) == 0
    before = result(tmp_path / "run")
    np.savez(models / "one.npz", allow_pickle=False, **arrays(quality=7.0))
    assert command.main(dataclasses.replace(options, resume=True)) == 0
    after = result(tmp_path / "run")
    assert after["resumed"] == 1
    assert before["result"]["choices"]["dev"] == "two.npz"
    assert after["result"]["choices"]["dev"] == "one.npz"


def test_the_ranking_is_that_of_the_plain_api(tmp_path: Path) -> None:
    models = folder_of(tmp_path / "models", one=arrays())
    options = Options(
        candidates=models, output=tmp_path / "run", seed=3, repeats=2, folds=2, loss="zero-one"
    )
    assert command.main(options) == 0
    found = result(tmp_path / "run")["result"]["candidates"]["one.npz"]
    dev = DEV(folds=2, seeds=(3, 4))
    expected = selectors.judge(candidate.load(models / "one.npz", "zero-one"), dev)
    assert found["scores"] == pytest.approx(expected.scores, rel=1e-9)
    assert found["risk"]["standard_error"] == pytest.approx(expected.risk.standard_error)


def test_what_cannot_be_judged_is_named_and_the_rest_is_ranked(tmp_path: Path) -> None:
    diverged = arrays()
    diverged["target_features"][5] = math.nan
    apart = arrays()
    apart["target_features"] = apart["target_features"] + 100
    models = folder_of(tmp_path / "models", apart=apart, diverged=diverged, good=arrays())
    (models / "broken.safetensors").write_bytes(b"no tensors")
    options = Options(candidates=models, output=tmp_path / "run", folds=2)
    assert command.main(options) == EXIT_SOME_FAILED
    found = result(tmp_path / "run")
    reasons = {one["key"]: one["reason"] for one in found["failed"]}
    assert set(reasons) == {"apart.npz", "broken.safetensors", "diverged.npz"}
    assert "refused by DEV" in reasons["apart.npz"]
    assert "domains hardly overlap" in reasons["apart.npz"]
    assert "CandidateUnreadable: broken.safetensors cannot be read" in reasons["broken.safetensors"]
    assert "target_features has 1 of 90 rows" in reasons["diverged.npz"]
    ranks = {row[0]: row for row in found["tables"]["ranks"]["rows"]}
    assert list(ranks) == ["good.npz", "apart.npz"]
    assert ranks["apart.npz"][1] is None, "DEV must not rank it"
    assert ranks["apart.npz"][3] is not None, "the source risk can"


def test_labels_of_the_target_are_not_needed(tmp_path: Path) -> None:
    values = arrays()
    del values["target_labels"], values["target_probabilities"]
    models = folder_of(tmp_path / "models", one=values)
    assert command.main(Options(candidates=models, output=tmp_path / "run", folds=2)) == 0
    tables = result(tmp_path / "run")["tables"]
    assert tables["choices"]["columns"] == ["selector", "choice"]
    choices = dict(tables["choices"]["rows"])
    assert (choices["DEV"], choices["SND"]) == ("one.npz", None)


def test_all_failed_is_no_ranking(tmp_path: Path) -> None:
    models = folder_of(tmp_path / "models")
    (models / "a.npz").write_bytes(b"")
    options = Options(candidates=models, output=tmp_path / "run")
    assert command.main(options) == EXIT_SOME_FAILED
    assert result(tmp_path / "run")["tables"] == {}


def test_the_command_line_reaches_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = folder_of(tmp_path / "models", one=arrays())
    words = ["run", "dev", "--candidates", str(models), "--output", str(tmp_path / "run")]
    assert crossdock([*words, "--discriminator", "mlp", "--decays", "0.1", "0.001"]) == 0
    assert "one.npz" in capsys.readouterr().out
    assert result(tmp_path / "run")["options"]["decays"] == [0.1, 0.001]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repeats": 0}, "--repeats 0"),
        ({"folds": 1}, "folds are 1"),
        ({"decays": ()}, "decays are"),
        ({"clip": -1.0}, "clip is -1"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Options(candidates=Path(), **values)


def test_a_folder_without_candidates_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is no folder"):
        command.main(Options(candidates=tmp_path / "none", output=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
