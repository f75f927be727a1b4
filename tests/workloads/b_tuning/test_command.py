"""`crossdock run b-tuning` on a real Ray: the bits of the plain API, resumed, and its refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.workloads.b_tuning.cases import digits
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import BTuning, command
from crossdock.workloads.b_tuning.command import Options
from crossdock.workloads.b_tuning.described import backbone_of
from crossdock.workloads.rank import data, models
from crossdock.workloads.rank.models import Model
from crossdock.workloads.runner import EXIT_SOME_FAILED, record

pytestmark = pytest.mark.usefixtures("local_ray")

CODE = """
from torch import nn

def network(width):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 3))
"""
WIDTHS = {"narrow": 8, "middle": 16, "wide": 24}


def described(factory: str, width: int) -> str:
    return f'factory = "{factory}"\nhead = "3"\n[arguments]\nwidth = {width}\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, one of them broken, and data."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "factories.py").write_text(CODE)
    for seed, (name, width) in enumerate(WIDTHS.items()):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 3))
        save_file(made.state_dict(), folder / f"{name}.safetensors")
        (folder / f"{name}.toml").write_text(described("factories.py:network", width))
    images, labels = digits(100)
    np.savez(folder / "data.npz", x=images.astype(np.float32), y=labels)
    return folder


def options(place: Path, output: Path, **given: object) -> Options:
    settings = {
        "models": (str(place),),
        "data": str(place / "data.npz"),
        "output": output,
        "top": 2,
        "student": "narrow",
        "epochs": 5,
        "batch": 16,
        "checkpoint_every": 2,
        "learning_rate": 0.02,
        "compare": False,
        "workers": 1,
    }
    return Options(**{**settings, **given})  # type: ignore[arg-type]


def test_a_run_gives_the_bits_of_the_plain_api_and_goes_on_where_it_was_cut(
    place: Path, tmp_path: Path
) -> None:
    given = options(place, tmp_path / "run", seed=3)
    assert command.main(given) == 0
    read = record.load(tmp_path / "run")
    lesson = command._lesson(given, data.load(given.data))
    zoo = [backbone_of(one) for one in models.find(given.models) if isinstance(one, Model)]
    student = next(one for one in zoo if one.name == "narrow")
    plain = BTuning(student, zoo, top=2, recipe=given.recipe(), seed=3)
    plain.fit(lesson.inputs, lesson.labels, validation=lesson.judged)
    assert read.result["history"]["b-tuning"] == plain.history_
    assert read.result["teachers"] == {t.backbone.name: t.weight for t in plain.teachers_}
    weights = load_file(tmp_path / "run" / "b-tuning.safetensors")
    for name, value in plain.network_.head.state_dict().items():
        assert torch.equal(weights[f"3.{name}"], value)
    kept = tmp_path / "run" / "kept"
    for late in ("*until-epoch-4*", "*until-epoch-6*"):
        (gone,) = kept.glob(late)
        gone.unlink()
    assert command.main(dataclasses.replace(given, resume=True)) == 0
    again = record.load(tmp_path / "run")
    assert again.resumed == 3 + 1 + 1
    assert again.result == read.result
    for name, value in load_file(tmp_path / "run" / "b-tuning.safetensors").items():
        assert torch.equal(weights[name], value)


def test_baselines_may_spend_as_much_and_what_is_broken_is_named(
    place: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "more"
    broken.mkdir()
    (broken / "missing.toml").write_text(described("nowhere:network", 3))
    (broken / "torn.toml").write_text("factory = ")
    folder = tmp_path / "run"
    given = options(
        place,
        folder,
        models=(str(place), str(broken)),
        compare=True,
        augment="tests.workloads.b_tuning.cases:shaken",
        views=2,
        epochs=3,
        checkpoint_every=50,
    )
    assert command.main(given) == EXIT_SOME_FAILED
    read = record.load(folder)
    failed = {one.key.split()[-2 if " " in one.key else -1] for one in read.failed}
    assert failed == {"torn", "missing"}
    spent = read.result["operations"]
    assert {"b-tuning", "fine-tuning", "distillation"} <= set(spent)
    assert all(paid >= spent["b-tuning"] for paid in spent.values())
    methods = {row[0]: row for row in read.tables["methods"].rows}
    assert methods["fine-tuning"][2] > methods["b-tuning"][2] == 3
    assert all(isinstance(row[4], float) for row in methods.values())
    assert {row[1]: row[5] for row in read.tables["models"].rows}["missing"].startswith("failed")
    assert (folder / "learning_curves.png").stat().st_size > 1000
    for method in spent:
        assert (folder / f"{method.replace(' ', '-')}.safetensors").is_file()


def test_a_student_that_is_not_there_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--student tall is none of the models; they are"):
        command.main(options(place, tmp_path / "run", student="tall"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top": 0}, "--top 0 is too few"),
        ({"checkpoint_every": 0}, "--checkpoint-every 0 is too few"),
        ({"validation": 1.0}, "--validation 1.0 is no part"),
        ({"strength": -1.0}, "--strength -1.0 is below 0"),
        ({"distillation_strength": float("nan")}, "--distillation-strength nan is below 0"),
        ({"views": 2}, "--views 2 would be alike"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_bad_options_are_refused(given: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=said):
        options(tmp_path, tmp_path, **given)


@pytest.mark.parametrize("name", ["nowhere:at", "math", "math:shaken"])
def test_an_augmentation_that_is_not_there_is_refused(
    name: str, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=f"--augment {name} is no MODULE:FUNCTION"):
        command.main(options(place, tmp_path / "run", augment=name))
