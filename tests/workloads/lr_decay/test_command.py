"""The study from its options to its checks, on a real Ray and of tiny size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossdock.deploy.cli import main as crossdock
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay import command
from crossdock.workloads.lr_decay.checks import OF_DATA, OF_PATTERNS
from crossdock.workloads.lr_decay.command import Options
from crossdock.workloads.lr_decay.errors import ClassMissing
from crossdock.workloads.runner import EXIT_SOME_FAILED, FolderRefused

pytestmark = pytest.mark.usefixtures("local_ray")

TINY: dict[str, Any] = {
    "complexities": (2,),
    "noise_rates": (0.2,),
    "seeds": 2,
    "large": 0.1,
    "small": 0.01,
    "decays": (1,),
    "epochs": 2,
    "train": 100,
    "test": 50,
    "target_train": 30,
    "target_test": 50,
}


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def kept(folder: Path) -> dict[str, bytes]:
    """Arrays of all trials, by file and name."""
    found: dict[str, bytes] = {}
    for path in (folder / "kept").iterdir():
        with np.load(path) as file:
            found |= {f"{path.name} {name}": file[name].tobytes() for name in file.files}
    return found


def test_study_is_judged_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(Options(output=tmp_path / "run", **TINY)) == 0
    found = result(tmp_path / "run")
    assert [row[0] for row in found["tables"]["checks"]["rows"]] == [
        one.claim for one in OF_PATTERNS
    ]
    assert {row[1] for row in found["tables"]["checks"]["rows"]} == {"undecided"}
    assert [one["seeds"] for one in found["result"]["checks"]] == [2] * len(OF_PATTERNS)
    assert found["tables"]["complexity"]["rows"][0][0] == 2
    assert {row[1] for row in found["tables"]["end of training"]["rows"]} == {
        "constant large",
        "constant small",
        "decay at 1",
    }
    for name in ("learning", "transfer"):
        assert (tmp_path / "run" / f"{name}.png").stat().st_size > 1000
    said = capsys.readouterr().out
    assert "undecided" in said
    assert "Configuration for experiment" not in said, "Tune's banner"


def test_interrupted_study_resumes_to_the_bit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command.main(Options(output=folder, **TINY)) == 0
    arrays, first = kept(folder), result(folder)
    lost = next(iter((folder / "kept").iterdir()))
    lost.unlink()  # as a run that ended early leaves it
    assert command.main(Options(output=folder, resume=True, **TINY)) == 0
    second = result(folder)
    assert kept(folder) == arrays
    assert second["tables"] == first["tables"]
    assert (first["resumed"], second["resumed"]) == (0, 1)
    with pytest.raises(FolderRefused, match=r"large = 0\.1, not 0\.2"):
        command.main(Options(output=folder, resume=True, **TINY | {"large": 0.2}))


def test_schedules_that_diverge_are_named_and_the_rest_comes_out(tmp_path: Path) -> None:
    options = Options(output=tmp_path / "run", **TINY | {"large": 1e30})
    assert command.main(options) == EXIT_SOME_FAILED
    found = result(tmp_path / "run")
    keys = {one["key"] for one in found["failed"]}
    assert "complexity=2 noise=0.2 seed=0, constant large" in keys
    assert "complexity=2 noise=0.2 seed=1, decay at 1" in keys
    assert len(keys) == 4
    ends = {row[1]: row[2] for row in found["tables"]["end of training"]["rows"]}
    assert ends["constant large"] is None
    assert ends["constant small"] > 0


def test_trials_that_fail_are_named(tmp_path: Path) -> None:
    options = Options(
        output=tmp_path / "run", network="tests.workloads.lr_decay.test_trial:broken", **TINY
    )
    assert command.main(options) == EXIT_SOME_FAILED
    found = result(tmp_path / "run")
    assert len(found["failed"]) == 2
    assert found["tables"] == {}


def test_the_command_line_reaches_a_study_of_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "lr-decay", "--data", "digits", "--output", str(tmp_path / "run")]
    words += ["--seeds", "1", "--noise-rates", "0.2", "--epochs", "2", "--decays", "1"]
    assert crossdock([*words, "--target-train", "20"]) == 0
    found = result(tmp_path / "run")
    assert [row[0] for row in found["tables"]["checks"]["rows"]] == [one.claim for one in OF_DATA]
    assert "other classes" in capsys.readouterr().out
    assert "complexity" not in found["tables"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise_rates": (1.5,)}, r"the noise rate is 1\.5"),
        ({"noise_rates": ()}, "--noise-rates are"),
        ({"complexities": (4, 4)}, "--complexities are"),
        ({"complexities": (0,)}, "prototypes is 0"),
        ({"seeds": 0}, "--seeds 0"),
        ({"decays": (40,)}, "decays at epoch 40, but the training has epochs 0 to 39"),
        ({"data": "digits", "decays": (80,)}, "epochs 0 to 79"),
        ({"large": 0.01}, "is not above the small one"),
        ({"momentum": 2.0}, r"momentum is 2\.0"),
        ({"train": 0}, "train is 0"),
        ({"simple_only": 0.9}, r"simple_only 0\.9"),
        ({"network": "none"}, "network none is none of"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Options(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source_classes": 9}, "9 of 10 classes as the source"),
        ({"shape": (8, 9)}, r"--shape \(8, 9\) does not fit inputs of shape \(64,\)"),
        ({"data": "nowhere"}, "no data at nowhere"),
    ],
)
def test_data_that_do_not_fit_leave_no_run(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    options = Options(output=tmp_path / "run", **{"data": "digits"} | values)
    with pytest.raises(ArgumentError, match=message):
        command.main(options)
    assert not (tmp_path / "run").exists()


def test_class_without_samples_is_named(tmp_path: Path) -> None:
    options = Options(output=tmp_path / "run", **TINY | {"train": 10, "noise_rates": (0.9,)})
    assert command.main(options) == EXIT_SOME_FAILED
    reasons = [one["reason"] for one in result(tmp_path / "run")["failed"]]
    assert all(reason.startswith(ClassMissing.__name__) for reason in reasons)
