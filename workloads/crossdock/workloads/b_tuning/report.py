"""What a run says: tables, learning curves, and the weights of the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from safetensors.torch import save_file

from crossdock.workloads.b_tuning import checkpoint
from crossdock.workloads.b_tuning.described import weights_of
from crossdock.workloads.b_tuning.job import Student
from crossdock.workloads.b_tuning.plan import Plan
from crossdock.workloads.runner import Failed, Run, Value

CURVES = {
    "validation_accuracy": "accuracy on what was held out",
    "train_accuracy": "accuracy in training",
    "cross_entropy": "cross-entropy in training",
}
MODELS = ["rank", "model", "LogME", "weight as teacher", "features", "state"]
METHODS = [
    "method", "model", "epochs", "Mop a sample", "held-out accuracy", "train accuracy",
    "cross-entropy",
]  # fmt: skip


def write(
    run: Run,
    plan: Plan,
    students: Sequence[Student],
    values: Mapping[str, Value | Failed],
    samples: int,
) -> None:
    """Tables, curves, weights, ``result``; `samples` were learnt from."""
    done = {name: value for name, value in values.items() if not isinstance(value, Failed)}
    run.table("models", MODELS, _models(plan))
    run.table("methods", METHODS, [_method(one, done.get(one.method), samples) for one in students])
    if done:
        curves = {name: value["history"] for name, value in done.items()}
        run.plot("learning curves", picture(curves))
    for name, value in done.items():
        state = checkpoint.loads(value["state"].tobytes())
        file = f"{name.replace(' ', '-')}.safetensors"
        save_file(weights_of(state["network"], value["head"]), run.folder / file)
    run.result["student"] = plan.student.name
    run.result["teachers"] = {one.model.name: one.weight for one in plan.teachers}
    run.result["scores"] = {name: one.evidence.score for name, one in plan.found.items()}
    run.result["history"] = {name: value["history"] for name, value in done.items()}
    run.result["operations"] = {one.method: one.operations for one in students}


def _models(plan: Plan) -> list[list[Any]]:
    weights = {one.model.name: one.weight for one in plan.teachers}
    rows: list[list[Any]] = [
        [
            place,
            name,
            one.evidence.score,
            weights.get(name),
            one.width,
            "student" if name == plan.student.name else "ok",
        ]
        for place, (name, one) in enumerate(plan.found.items(), 1)
    ]
    failed = [[None, name, None, None, None, f"failed: {why}"] for name, why in plan.failed.items()]
    return rows + failed


def _method(student: Student, value: Value | None, samples: int) -> list[Any]:
    last = {} if value is None else value["history"][-1]
    return [
        student.method,
        student.model.name,
        student.recipe.epochs,
        student.operations / samples / 1e6,
        *(last.get(name) for name in CURVES),
    ]


def picture(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """A panel for each figure of the epochs, a line for each method."""
    names = [name for name in CURVES if all(name in lines[-1] for lines in curves.values())]
    figure = Figure((4.0 * len(names), 3.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(names)))
    for axis, name in zip(axes, names, strict=True):
        for method, lines in curves.items():
            epochs = [line["epoch"] for line in lines]
            axis.plot(epochs, [line[name] for line in lines], label=method)
        axis.set_xlabel("epoch")
        axis.set_ylabel(CURVES[name])
    axes[0].legend(fontsize="small")
    return figure
