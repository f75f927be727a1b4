"""The parts of a run that are spread over the cluster: evidence, targets, students. All resume."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from crossdock.workloads.b_tuning import distributed, targets
from crossdock.workloads.b_tuning.cost import Cost, cost_of
from crossdock.workloads.b_tuning.described import Body, backbone_of
from crossdock.workloads.b_tuning.evidence import Evidence, evidence_of
from crossdock.workloads.b_tuning.fine_tuning import FineTuning
from crossdock.workloads.b_tuning.losses import Penalty
from crossdock.workloads.b_tuning.targets import Target, TargetCache, Teacher
from crossdock.workloads.b_tuning.training import Recipe
from crossdock.workloads.b_tuning.views import Augment, Views
from crossdock.workloads.rank.models import Model
from crossdock.workloads.runner import Failed, Run, Value

_DIGEST = 16


@dataclass(frozen=True, eq=False)
class Lesson:
    """What students learn, and are judged by."""

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    judged: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None
    """Inputs and labels that are held out."""
    augment: Augment | None
    views: int
    seed: int

    @property
    def classes(self) -> int:
        """C."""
        return len(np.unique(self.labels))


@dataclass(frozen=True)
class Place:
    """Where a part runs."""

    cpus: float
    gpus: float
    actors: int
    """That compute targets."""

    @property
    def device(self) -> str:
        """As PyTorch names it."""
        return "cuda" if self.gpus else "cpu"

    def set_threads(self) -> None:
        """As many as the part has CPUs: sums, and so the last bits, depend on their number."""
        torch.set_num_threads(max(1, int(self.cpus)))


@dataclass(frozen=True)
class Found:
    """What was found out about a model."""

    evidence: Evidence
    cost: Cost

    @property
    def width(self) -> int:
        """D."""
        return int(self.evidence.means.shape[1])


def found(
    run: Run, models: Sequence[Model], keys: Mapping[str, str], lesson: Lesson, place: Place
) -> dict[str, Found | Failed]:
    """Of each model, by its name; a task each."""
    values = run.map(
        found_value,
        models,
        keys=[f"evidence of {keys[model.name]}" for model in models],
        shared=(lesson, place),
        what="models",
        cpus=place.cpus,
        gpus=place.gpus,
    )
    return {
        model.name: value if isinstance(value, Failed) else _found(value)
        for model, value in zip(models, values, strict=True)
    }


def found_value(model: Model, lesson: Lesson, place: Place) -> Value:
    """Evidence and cost of a model."""
    place.set_threads()
    backbone = backbone_of(model)
    inputs = torch.tensor(lesson.inputs)
    evidence = evidence_of(backbone, inputs, lesson.labels, torch.device(place.device))
    cost = cost_of(backbone, inputs[:1], lesson.classes)
    return {
        "score": evidence.score,
        "means": evidence.means,
        "forward": cost.forward,
        "training": cost.training,
    }


def _found(value: Value) -> Found:
    evidence = Evidence(float(value["score"]), value["means"])
    return Found(evidence, Cost(int(value["forward"]), int(value["training"])))


@dataclass(frozen=True)
class Chosen:
    """A teacher as it is sent to where it is built."""

    model: Model
    means: npt.NDArray[np.float64]
    weight: float


def teachers_of(chosen: Sequence[Chosen]) -> list[Teacher]:
    """Build them."""
    return [Teacher(backbone_of(one.model), one.means, one.weight) for one in chosen]


def targets_of(
    run: Run, kind: type[Target], chosen: Sequence[Chosen], lesson: Lesson, place: Place, key: str
) -> TargetCache:
    """Of all views of all samples, by Ray Data; each chunk is kept as it arrives."""
    views = Views(torch.tensor(lesson.inputs), lesson.augment, lesson.views, lesson.seed)
    width = kind.width([one.means for one in chosen])
    cache = TargetCache(len(views), views.count, width)
    chunks = list(views.chunks(targets.CHUNK))
    for view, first, end in chunks:
        if (value := run.kept.get(_chunk(kind, key, view, first))) is not None:
            cache.put(view, slice(first, end), value["targets"])
            run.record.resumed += 1
    done = sum(bool(cache.known[view, first]) for view, first, _ in chunks)
    with run.progress("chunks of targets", len(chunks), done) as advance:

        def keep(view: int, first: int, values: npt.NDArray[np.float32]) -> None:
            run.kept.put(_chunk(kind, key, view, first), {"targets": values})
            advance()

        distributed.fill(
            cache,
            kind,
            partial(teachers_of, chosen),
            views,
            actors=place.actors,
            device=place.device,
            gpus=place.gpus,
            told=keep,
        )
    return cache


def _chunk(kind: type[Target], key: str, view: int, first: int) -> str:
    return f"{kind.__name__} {key} view {view} sample {first}"


@dataclass(frozen=True, eq=False)
class Student:
    """A model to be tuned, and how."""

    method: str
    model: Model
    recipe: Recipe
    penalty: Penalty | None
    operations: int
    """That all it needs will have cost."""


def trained(
    run: Run, students: Sequence[Student], lesson: Lesson, place: Place, every: int, key: str
) -> dict[str, Value | Failed]:
    """Tune students side by side, by tasks of `every` epochs; their last values by method.

    Each value holds the whole state of a student: whatever is lost goes on from the last one, to
    the bit.
    """
    values: dict[str, Value | Failed] = {}
    until, left = 0, list(students)
    while left:
        until += every
        states = [_state(values.get(one.method)) for one in left]
        steps = run.map(
            trained_value,
            list(zip(left, states, strict=True)),
            keys=[f"{one.method} {key} until epoch {until}" for one in left],
            shared=(lesson, place, until),
            what=f"students until epoch {until}",
            cpus=place.cpus,
            gpus=place.gpus,
        )
        values |= {one.method: value for one, value in zip(left, steps, strict=True)}
        left = [
            one
            for one in left
            if until < one.recipe.epochs and not isinstance(values[one.method], Failed)
        ]
    return values


def _state(value: Value | Failed | None) -> npt.NDArray[np.uint8] | None:
    return value["state"] if isinstance(value, dict) else None


def trained_value(
    item: tuple[Student, npt.NDArray[np.uint8] | None], lesson: Lesson, place: Place, until: int
) -> Value:
    """A student's state and history after so many epochs, from its state after fewer."""
    student, state = item
    place.set_threads()
    backbone = backbone_of(student.model)
    tuning = FineTuning(
        backbone,
        recipe=student.recipe,
        augment=lesson.augment,
        views=lesson.views,
        seed=lesson.seed,
        device=place.device,
        penalty=student.penalty,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student.pt"
        if state is not None:
            file.write_bytes(state.tobytes())
        tuning.fit(
            lesson.inputs, lesson.labels, validation=lesson.judged, checkpoint=file, until=until
        )
        after = np.frombuffer(file.read_bytes(), np.uint8)
    assert isinstance(backbone.module, Body)
    return {"state": after, "history": tuning.history_, "head": backbone.module.head}


def key_of(keys: Mapping[str, str]) -> str:
    """One for all models and data together."""
    return hashlib.sha256("\n".join(sorted(keys.values())).encode()).hexdigest()[:_DIGEST]
