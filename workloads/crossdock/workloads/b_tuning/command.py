"""`crossdock run b-tuning`: tune a model for a data set, with the best of others as teachers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import job, report
from crossdock.workloads.b_tuning.cost import Account, with_projections
from crossdock.workloads.b_tuning.job import Lesson, Place, Student
from crossdock.workloads.b_tuning.losses import (
    FeatureAlignment,
    PosteriorAlignment,
    Reduction,
)
from crossdock.workloads.b_tuning.plan import Plan, planned
from crossdock.workloads.b_tuning.targets import FeatureTarget, PosteriorTarget
from crossdock.workloads.b_tuning.training import Recipe
from crossdock.workloads.b_tuning.views import Augment
from crossdock.workloads.rank import data, models
from crossdock.workloads.rank.job import keys_of
from crossdock.workloads.rank.models import Model
from crossdock.workloads.runner import Failed, Run, RunOptions
from crossdock.workloads.runner.seeds import Use, reproducible

METHOD, LONGER, SINGLE, DISTILLED = "b-tuning", "fine-tuning", "best model", "distillation"
_PLACES = ("workers", "worker_cpus", "worker_gpus")
"""Options that only say where the work is done."""
_RECIPE = (
    "epochs", "batch", "learning_rate", "head_factor", "momentum", "weight_decay", "decay",
    "decay_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Fine-tune a model, drawn to what the best of others predict."""

    models: tuple[str, ...]
    """Folders of checkpoints with descriptions; LIBRARY:NAME; MODULE:FUNCTION; as for `rank`."""
    data: str
    """File .npz with x and y; folder with a folder for each class; MODULE:FUNCTION; or digits,
    wine, iris, breast_cancer."""
    student: str | None = None
    """Name of the model to tune; the best by LogME, if not given."""
    top: int = 3
    """Teachers: the best so many by LogME."""
    temperature: float = 0.1
    """Of the softmax of scores that weighs them."""
    strength: float = 100.0
    """The paper's lambda."""
    reduction: Reduction = "fixed"
    """Of squares over classes: fixed (their sum / 100: one lambda for any number of classes) or
    mean (the paper's)."""
    compare: bool = True
    """Tune by the baselines too, at as many operations of the networks."""
    distillation_strength: float = 1.0
    """Lambda of feature distillation, a baseline."""
    validation: float = 0.2
    """Part of the samples that is held out, and judges; 0 for none."""
    augment: str | None = None
    """MODULE:FUNCTION of a sample and a torch.Generator, which gives a sample."""
    views: int = 1
    """Augmentation seeds of each sample; epochs take them in turn."""
    epochs: int = Recipe.epochs
    """Of B-Tuning."""
    batch: int = Recipe.batch
    """Samples of a step."""
    learning_rate: float = Recipe.learning_rate
    """Of the pre-trained part."""
    head_factor: float = Recipe.head_factor
    """How many times as much the learning rate of what is new."""
    momentum: float = Recipe.momentum
    """Nesterov's."""
    weight_decay: float = Recipe.weight_decay
    """Of all weights."""
    decay: float = Recipe.decay
    """Factor on the learning rates, late."""
    decay_at: float = Recipe.decay_at
    """Part of the epochs after which it comes."""
    checkpoint_every: int = 10
    """Epochs after which a student's state is kept, for --resume."""
    workers: int | None = None
    """Processes that compute targets; as many as the cluster has room for, if not given."""
    worker_cpus: float = 1.0
    """CPUs of each process, also of each student's."""
    worker_gpus: float = 0.0
    """GPUs of each; then models run there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recipe()
        for name in ("top", "views", "checkpoint_every"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise ArgumentError(f"--{flag} {getattr(self, name)} is too few; give 1 or more")
        if not 0 <= self.validation < 1:
            raise ArgumentError(f"--validation {self.validation} is no part; give 0 to below 1")
        for name in ("strength", "distillation_strength"):
            if not getattr(self, name) >= 0:
                flag = name.replace("_", "-")
                raise ArgumentError(f"--{flag} {getattr(self, name)} is below 0; give 0 or more")
        if self.views > 1 and self.augment is None:
            raise ArgumentError(f"--views {self.views} would be alike; give --augment, or 1")

    def recipe(self) -> Recipe:
        """How B-Tuning's student is trained."""
        return Recipe(**{name: getattr(self, name) for name in _RECIPE})

    def decisive(self) -> dict[str, Any]:
        """Without what only says where the work is done."""
        return {name: value for name, value in super().decisive().items() if name not in _PLACES}


def main(options: Options) -> int:
    """Rank, compute targets, tune; the exit status says whether a part failed."""
    given = data.load(options.data)
    lesson = _lesson(options, given)
    listed = models.find(options.models)
    able = [one for one in listed if isinstance(one, Model)]
    _expect_student(options, [model.name for model in able])
    with Run.start(METHOD, options) as run:
        for one in listed:
            if isinstance(one, Failed):
                run.fail(one.key, one.reason)
        place = _place(options, run)
        keys = keys_of(able, given)
        with run.timed("evidence"):
            found = job.found(run, able, keys, lesson, place)
        plan = planned(
            able, found, student=options.student, top=options.top, temperature=options.temperature
        )
        key = job.key_of(keys)
        with run.timed("targets"):
            students = _students(run, options, plan, lesson, place, key)
        with run.timed("training"):
            every = options.checkpoint_every
            values = job.trained(run, students, lesson, place, every, key)
        report.write(run, plan, students, values, len(lesson.labels))
    return run.status


def _students(
    run: Run, options: Options, plan: Plan, lesson: Lesson, place: Place, key: str
) -> list[Student]:
    """B-Tuning's student, and those of the baselines, with as much to spend."""
    own = plan.found[plan.student.name]
    costs = {name: one.cost for name, one in plan.found.items()}
    account = Account(
        student=own.cost,
        candidates=list(costs.values()),
        teachers=[costs[one.model.name] for one in plan.teachers],
        samples=len(lesson.labels),
        views=lesson.views,
        epochs=options.epochs,
    )
    recipe = options.recipe()
    said = job.targets_of(run, PosteriorTarget, plan.teachers, lesson, place, key)
    drawn = PosteriorAlignment(own.evidence.means, said, options.strength, options.reduction)
    students = [Student(METHOD, plan.student, recipe, drawn, account.total)]
    if not options.compare:
        return students
    epochs, paid = account.rival(own.cost)
    students.append(Student(LONGER, plan.student, replace(recipe, epochs=epochs), None, paid))
    if plan.best is not plan.student:
        epochs, paid = account.rival(costs[plan.best.name], before=account.ranking)
        students.append(Student(SINGLE, plan.best, replace(recipe, epochs=epochs), None, paid))
    widths = [one.means.shape[1] for one in plan.teachers]
    cost = with_projections(own.cost, own.width, widths)
    epochs, paid = account.rival(cost, before=account.ranking + account.teaching)
    features = job.targets_of(run, FeatureTarget, plan.teachers, lesson, place, key)
    weights = np.array([one.weight for one in plan.teachers])
    with reproducible(options.seed, Use.PROJECTION):
        distilled = FeatureAlignment(
            own.width, widths, weights, features, options.distillation_strength
        )
    longer = replace(recipe, epochs=epochs)
    students.append(Student(DISTILLED, plan.student, longer, distilled, paid))
    return students


def _lesson(options: Options, given: data.Data) -> Lesson:
    augment = None if options.augment is None else _function(options.augment)
    inputs, labels = given.inputs, given.labels
    judged = None
    if options.validation:
        try:
            inputs, other_inputs, labels, other_labels = train_test_split(
                inputs,
                labels,
                test_size=options.validation,
                stratify=labels,
                random_state=options.seed,
            )
        except ValueError as error:
            raise ArgumentError(
                f"{options.data} cannot be split with --validation {options.validation}: {error}"
            ) from error
        judged = (other_inputs, other_labels)
    return Lesson(inputs, labels, judged, augment, options.views, options.seed)


def _function(name: str) -> Augment:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(f"--augment {name} is no MODULE:FUNCTION here: {error}") from error


def _expect_student(options: Options, names: Sequence[str]) -> None:
    if options.student is not None and options.student not in names:
        raise ArgumentError(
            f"--student {options.student} is none of the models; they are {', '.join(names)}"
        )


def _place(options: Options, run: Run) -> Place:
    room = int(run.cluster.cpus // options.worker_cpus)
    if options.worker_gpus:
        room = min(room, int(run.cluster.gpus // options.worker_gpus))
    return Place(options.worker_cpus, options.worker_gpus, options.workers or max(room, 1))
