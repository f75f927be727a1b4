"""`crossdock run rank` on a real Ray: what fails is named, the rest is ranked, and it resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workloads.rank.folders import describe, flowers, headed, write

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.rank import SCORES, score_folds
from crossdock.workloads.rank.command import Options, main
from crossdock.workloads.rank.models import Model, find
from crossdock.workloads.rank.networks import Network
from crossdock.workloads.rank.shards import Plan, cut, folds_of
from crossdock.workloads.runner import EXIT_SOME_FAILED, record

BATCH, FOLDS = 16, 5
BAD = {
    "broken": "the checkpoint cannot be read: ",
    "cut": "cut.toml: ",
    "dies": "the worker process died 1 times while it ran this model on shard ",
    "lonely": "no description lonely.toml beside lonely.safetensors",
    "nan": "features hold nan in row 0, column 2",
    "nowhere": "unknown: neither a folder, ",
    "out": "row 0 has source label ",
    "raises": "ValueError: no rows of 4 values, please",
}


def options(tmp_path: Path, **given: Any) -> Options:
    return Options(
        models=(str(tmp_path / "models"), "nowhere"),
        data=write(tmp_path / "data.npz", flowers()),
        output=tmp_path / "run",
        batch=BATCH,
        folds=FOLDS,
        shards=3,
        attempts=1,
        workers=1,
        **given,
    )


def unsharded(tmp_path: Path, name: str) -> dict[str, float | None]:
    """The scores of a model, without a cluster."""
    (model,) = [
        each
        for each in find([str(tmp_path / "models")])
        if isinstance(each, Model) and each.name == name
    ]
    plan = Plan(classes=3, batch=BATCH, folds=FOLDS, class_moments_bytes=1 << 30)
    (shard,) = cut(flowers(), 1, BATCH, 10_000, 0)
    folds = folds_of(Network(model), shard, plan).values()
    return {score: own.value for score, own in score_folds(list(folds)).items()}


def fill(folder: Path, built: Path) -> None:
    """Models that work, and one of each kind that does not."""
    built.mkdir()
    for number in range(3):
        headed(folder, f"good-{number}", number, built=str(built / f"{number}"))
    describe(folder, "headless", "headless")
    headed(folder, "broken", 0)
    (folder / "broken.safetensors").write_bytes(b"\x00" * 40)
    (folder / "lonely.safetensors").write_bytes(b"")
    (folder / "cut.toml").write_text("factory =")
    describe(folder, "out", "labelled", "source_classes = 1")
    for name in ("dies", "nan", "raises"):
        describe(folder, name, name)


@pytest.mark.timeout(300)  # of a busy machine: workers start three times
@pytest.mark.usefixtures("local_ray")
def test_failures_are_named_the_rest_is_ranked_and_a_resumed_run_does_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, built = tmp_path / "models", tmp_path / "built"
    fill(models, built)
    (tmp_path / "known.csv").write_text("good-0,0.8\ngood-1,0.7\ngood-2,0.9\nother,1\n")
    given = options(tmp_path, accuracies=tmp_path / "known.csv")
    assert main(given) == EXIT_SOME_FAILED
    first = record.load(tmp_path / "run")
    assert {one.key for one in first.failed} == set(BAD)
    assert all(one.reason.startswith(BAD[one.key]) for one in first.failed), first.failed
    good = ["good-0", "good-1", "good-2", "headless"]
    assert sorted(first.result["ranking"]) == good
    for name in good:
        for score, value in unsharded(tmp_path, name).items():
            own = first.result["scores"][name][score]["value"]
            assert own == (None if value is None else pytest.approx(value, rel=1e-9)), score
    assert first.result["scores"]["headless"]["leep"]["reason"].startswith("the model has no head")
    states = {row[1]: row[-1] for row in first.tables["ranking"].rows}
    assert states["good-0"] == "ok"
    assert states["dies"].startswith("failed: the worker process died")
    assert [row[2] for row in first.tables["agreement with accuracy"].rows] == [3] * len(SCORES)
    assert (tmp_path / "run" / first.plots["score against accuracy"]).is_file()
    assert "no rows of 4 values" in (tmp_path / "run" / "report.html").read_text()
    assert "headless" in capsys.readouterr().out

    before = sorted(path.name for path in built.iterdir())
    builders = [name.rsplit("-", 1)[0] for name in before]
    assert len(builders) == len(set(builders)), "a worker built a model twice"
    assert {name.partition("-")[0] for name in builders} == {"0", "1", "2"}
    for name in set(BAD) - {"raises", "nowhere"}:
        for file in models.glob(f"{name}.*"):
            file.unlink()
    describe(models, "raises", "headless")
    again = options(tmp_path, accuracies=tmp_path / "known.csv", resume=True)
    assert main(again) == EXIT_SOME_FAILED
    second = record.load(tmp_path / "run")
    assert [one.key for one in second.failed] == ["nowhere"]
    assert sorted(path.name for path in built.iterdir()) == before
    assert sorted(second.result["ranking"]) == sorted([*good, "raises"])
    values = [
        {name: [own["value"] for own in scores.values()] for name, scores in run.items()}
        for run in (first.result["scores"], second.result["scores"])
    ]
    assert {name: values[1][name] for name in good} == values[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scores": ("logme", "best")}, "score 'best' is unknown"),
        ({"by": "gbc", "scores": ("logme",)}, "--by gbc is not among --scores logme"),
        ({"scores": ()}, "--scores names none"),
        ({"class_moments_gib": 2.0}, "--class-moments-gib 2.0 is out of range; give 0 to 1.5"),
        ({"folds": 1}, "--folds 1 leaves no rows"),
        ({"folds": -1}, "--folds -1 is too few"),
        ({"batch": 0}, "--batch 0 is too few"),
        ({"workers": 0}, "--workers 0 is too few"),
        ({"worker_cpus": 0.0}, "give a worker more than 0 CPUs"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        Options(models=("there",), data="iris", **given)


def test_labels_out_of_range_are_refused_before_anything_runs(tmp_path: Path) -> None:
    data = flowers()
    np.savez(tmp_path / "data.npz", x=data.inputs, y=data.labels - 1)
    given = Options(
        models=("there",), data=str(tmp_path / "data.npz"), classes=3, output=tmp_path / "run"
    )
    with pytest.raises(ArgumentError, match=r"row \d+ has label -1"):
        main(given)
    assert not (tmp_path / "run").exists()
