"""Fine-tuning with teachers as estimators: B-Tuning, and feature distillation as its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone, expect_distinct
from crossdock.workloads.b_tuning.evidence import Evidence, best, evidence_of
from crossdock.workloads.b_tuning.fine_tuning import Array, FineTuning, Problem, Rest, Told
from crossdock.workloads.b_tuning.losses import (
    FeatureAlignment,
    PosteriorAlignment,
    Reduction,
    teacher_weights,
)
from crossdock.workloads.b_tuning.targets import (
    FeatureTarget,
    PosteriorTarget,
    Target,
    TargetCache,
    Teacher,
    fill,
)
from crossdock.workloads.b_tuning.training import Recipe
from crossdock.workloads.b_tuning.views import Augment
from crossdock.workloads.runner.seeds import Use, reproducible

Known = Mapping[str, Evidence]
"""Evidence by the names of the models."""


class BTuning(FineTuning):
    """Fine-tune a student with the best K of some teachers, of any architectures.

    Loss: cross-entropy + `strength` * alignment(f_s m_s', sum_k pi_k f_k m_k'), where m are LogME's
    posterior means on the features of the pre-trained models and pi = softmax(LogME_k /
    `temperature`); see ``losses``. Teachers are frozen, each with its own transform, and m_s stays.

    After ``fit``, beside what ``FineTuning`` says: ``evidence_`` by name, ``teachers_`` (the chosen
    ``Teacher``s, best first), ``targets_`` (the ``TargetCache``).
    """

    def __init__(
        self,
        student: Backbone,
        teachers: Sequence[Backbone],
        *,
        top: int = 3,
        temperature: float = 0.1,
        strength: float = 100.0,
        reduction: Reduction = "fixed",
        recipe: Recipe | None = None,
        augment: Augment | None = None,
        views: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """`teachers` are the candidates, of which the `top` best take part; the student may be
        among them. `strength` is the paper's lambda, `reduction` that of ``losses.alignment``."""
        super().__init__(
            student, recipe=recipe, augment=augment, views=views, seed=seed, device=device
        )
        self.teachers = teachers
        self.top = top
        self.temperature = temperature
        self.strength = strength
        self.reduction = reduction

    def fit(
        self,
        X: Array | torch.Tensor,  # noqa: N803
        y: Array,
        *,
        evidence: Known | None = None,
        targets: TargetCache | None = None,
        validation: tuple[Array | torch.Tensor, Array] | None = None,
        checkpoint: Path | None = None,
        until: int | None = None,
        told: Told | None = None,
    ) -> Self:
        """As ``FineTuning.fit``. What `evidence` and `targets` already hold is not computed again;
        they must be of the same models, X, y, views and seed."""
        problem = self._problem(X, y)
        expect_strength(self.strength)
        self.evidence_ = completed([self.student, *self.teachers], problem, evidence or {})
        self.teachers_ = chosen(self.teachers, self.evidence_, self.top, self.temperature)
        self.targets_ = filled(targets, PosteriorTarget, self.teachers_, problem)
        means = self.evidence_[self.student.name].means
        penalty = PosteriorAlignment(means, self.targets_, self.strength, self.reduction)
        return self._train(problem, penalty, Rest(validation, checkpoint, until, told))


class FeatureDistillation(FineTuning):
    """Fine-tune a student that shall also predict the teachers' features by linear maps it learns.

    The teachers are chosen and weighed as in ``BTuning``; see ``losses.FeatureAlignment``.
    """

    def __init__(
        self,
        student: Backbone,
        teachers: Sequence[Backbone],
        *,
        top: int = 3,
        temperature: float = 0.1,
        strength: float = 1.0,
        recipe: Recipe | None = None,
        augment: Augment | None = None,
        views: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """See ``BTuning``."""
        super().__init__(
            student, recipe=recipe, augment=augment, views=views, seed=seed, device=device
        )
        self.teachers = teachers
        self.top = top
        self.temperature = temperature
        self.strength = strength

    def fit(
        self,
        X: Array | torch.Tensor,  # noqa: N803
        y: Array,
        *,
        evidence: Known | None = None,
        targets: TargetCache | None = None,
        validation: tuple[Array | torch.Tensor, Array] | None = None,
        checkpoint: Path | None = None,
        until: int | None = None,
        told: Told | None = None,
    ) -> Self:
        """See ``BTuning.fit``."""
        problem = self._problem(X, y)
        expect_strength(self.strength)
        self.evidence_ = completed(list(self.teachers), problem, evidence or {})
        self.teachers_ = chosen(self.teachers, self.evidence_, self.top, self.temperature)
        widths = [teacher.means.shape[1] for teacher in self.teachers_]
        self.targets_ = filled(targets, FeatureTarget, self.teachers_, problem)
        with reproducible(self.seed, Use.PROJECTION):
            penalty = FeatureAlignment(
                self._width(problem),
                widths,
                np.array([teacher.weight for teacher in self.teachers_]),
                self.targets_,
                self.strength,
            )
        return self._train(problem, penalty, Rest(validation, checkpoint, until, told))


def expect_strength(strength: float) -> None:
    """ArgumentError below 0."""
    if not strength >= 0:
        raise ArgumentError(f"strength is {strength}, but 0 is the least")


def completed(backbones: list[Backbone], problem: Problem, known: Known) -> dict[str, Evidence]:
    """Evidence of all models, the student's first; computed where it is not known."""
    unique = list({id(backbone): backbone for backbone in backbones}.values())
    expect_distinct(unique)
    inputs, device = problem.views.inputs, problem.device
    return {
        backbone.name: known[backbone.name]
        if backbone.name in known
        else evidence_of(backbone, inputs, problem.labels, device)
        for backbone in unique
    }


def chosen(
    teachers: Sequence[Backbone], evidence: Known, top: int, temperature: float
) -> list[Teacher]:
    """The `top` best teachers, best first, with their posterior means and weights."""
    backbones = best(teachers, evidence, top)
    scores = [evidence[backbone.name].score for backbone in backbones]
    weights = teacher_weights(scores, temperature)
    return [
        Teacher(backbone, evidence[backbone.name].means, float(weight))
        for backbone, weight in zip(backbones, weights, strict=True)
    ]


def filled(
    known: TargetCache | None,
    kind: type[Target],
    teachers: Sequence[Teacher],
    problem: Problem,
) -> TargetCache:
    """What is known of the targets, with all that it lacks."""
    views, width = problem.views, kind.width([teacher.means for teacher in teachers])
    cache = known or TargetCache(len(views), views.count, width)
    cache.expect(len(views), views.count, width)
    if not cache.known.all():
        fill(cache, kind(teachers, problem.device), views, problem.device)
    return cache
