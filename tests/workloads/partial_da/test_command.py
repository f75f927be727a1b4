"""`crossdock run etn` and its like on a real Ray, and refusals before anything runs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.workloads.partial_da.cases import clusters

from crossdock.deploy.cli import COMMANDS, Command, Group
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da import (
    NotPartial,
    command,
    run_etn,
    run_san,
    run_san_plus_plus,
)
from crossdock.workloads.runner import EXIT_SOME_FAILED, ClusterTooSmall, record

LABELS = np.arange(60) % 3


@pytest.fixture
def place(tmp_path: Path) -> Path:
    names = np.array(["ape", "bee", "cat"])
    np.savez(tmp_path / "source.npz", x=clusters(LABELS, 0.0, 0), y=names[LABELS])
    far = np.arange(30) % 2
    np.savez(tmp_path / "target.npz", x=clusters(far, 0.5, 1), y=names[far])
    return tmp_path


def options(kind: Any, place: Path, **given: Any) -> Any:
    settings: dict[str, Any] = {
        "source": str(place / "source.npz"),
        "target": str(place / "target.npz"),
        "output": place / "run",
        "backbone": "mlp",
        "steps": 6,
        "check_every": 3,
        "batch": 12,
        "worker_cpus": 0.5,
        "deadline_s": 110.0,
    }
    return kind(**{**settings, **given})


@pytest.mark.usefixtures("local_ray")
def test_a_run_tells_saves_and_is_gone_on_with(place: Path) -> None:
    given = options(run_etn.Options, place, settings=("entropy=0.1",))
    assert run_etn.main(given) == 0
    read = record.load(place / "run")
    (row,) = read.tables["methods"].rows
    assert row[0] == "etn"
    steps = [line["step"] for line in read.result["history"]["etn"]]
    assert steps == [3, 6]
    with np.load(place / "run" / "etn.npz") as file:
        assert file["target_probabilities"].shape == (30, 3)
        assert set(file["target_predictions"]) <= {"ape", "bee", "cat"}
        assert file["source_weights"].shape == (48,)
    assert load_file(place / "run" / "etn.safetensors")["head.weight"].shape == (3, 256)
    assert (place / "run" / "curves.png").is_file()
    shutil.rmtree(place / "run" / "training")  # nothing may need it any more
    assert run_etn.main(dataclasses.replace(given, resume=True)) == 0
    again = record.load(place / "run")
    assert again.resumed == 1
    assert again.result == read.result


@pytest.mark.usefixtures("local_ray")
def test_a_method_that_fails_is_named(place: Path) -> None:
    given = options(command.Options, place, method="afn", learning_rate=1e30)
    assert command.main(given) == EXIT_SOME_FAILED
    (failed,) = record.load(place / "run").failed
    assert failed.key == "afn"
    assert failed.reason.startswith("NotFiniteLoss: step ")


@pytest.mark.usefixtures("local_ray")
def test_workers_that_can_never_all_run_are_refused(place: Path) -> None:
    given = options(command.Options, place, workers=3, worker_cpus=1.0)
    with pytest.raises(ClusterTooSmall, match="3 workers ask for 3 CPUs and 0 GPUs at once"):
        command.main(given)


def test_a_target_with_other_classes_is_refused_before_anything_runs(place: Path) -> None:
    np.savez(place / "target.npz", x=clusters(LABELS[:2], 0.0, 0), y=np.array(["dog", "bee"]))
    with pytest.raises(NotPartial, match="the source lacks: dog"):
        command.main(options(command.Options, place))
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "sam"}, "method 'sam' is unknown"),
        ({"settings": ("speed=1",)}, "san has no setting 'speed'"),
        ({"steps": 0}, "steps is 0"),
        ({"workers": 0}, "workers are 0"),
        ({"validation": 1.0}, r"--validation 1\.0 is no part"),
        ({"dev": False}, "--select dev needs --dev"),
    ],
)
def test_options_out_of_range_are_refused(place: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        options(command.Options, place, **given)


def test_each_command_has_its_method_and_can_compare(place: Path) -> None:
    kinds = {"san": run_san, "san++": run_san_plus_plus, "etn": run_etn}
    run = COMMANDS.children["run"]
    assert isinstance(run, Group)
    for name, module in kinds.items():
        leaf = run.children[name]
        assert isinstance(leaf, Command)
        assert leaf.module == module.__name__
        given = options(module.Options, place, compare=True)
        names = [method.name for method in given.methods()]
        assert names[0] == name
        assert sorted(names) == sorted(
            ["source-only", "dann", "pada", "iwan", "afn", "san", "san++", "etn"]
        )
    assert "reconstruction" in run_san_plus_plus.Options.__doc__  # type: ignore[operator]
    leaf = run.children["san++"]
    assert "reconstruction" in leaf.summary


def test_new_layers_learn_faster_only_over_a_trained_backbone(place: Path) -> None:
    given = options(command.Options, place)
    assert given.recipe(untrained=True).head_factor == 1
    assert given.recipe(untrained=False).head_factor == 10
    chosen = options(command.Options, place, head_factor=3.0)
    assert chosen.recipe(untrained=True).head_factor == 3
