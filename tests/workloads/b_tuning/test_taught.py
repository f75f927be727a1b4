"""B-Tuning and feature distillation as a whole, with teachers of other architectures."""

from functools import partial

import numpy as np
import pytest
import scipy.special
import torch
from tests.workloads.b_tuning.cases import convolutional, dense, digits, shaken

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning import BTuning, Evidence, FeatureDistillation, FineTuning
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.evidence import features_of_all
from crossdock.workloads.b_tuning.training import Recipe, checksum

SHORT = Recipe(epochs=3, batch=16, learning_rate=0.02)
IMAGES, LABELS = digits(120)


def zoo() -> list[Backbone]:
    return [dense("narrow", 8, 1), convolutional("conv", 2), dense("wide", 40, 3)]


def bits(tuned: FineTuning) -> int:
    return checksum(tuned.network_.state_dict().values())


def test_the_best_teachers_are_taken_with_a_softmax_of_their_scores() -> None:
    tuned = BTuning(dense("student", 12), zoo(), top=2, recipe=SHORT).fit(IMAGES, LABELS)
    scores = {name: tuned.evidence_[name].score for name in ("narrow", "conv", "wide")}
    names = sorted(scores, key=lambda name: -scores[name])[:2]
    assert [teacher.backbone.name for teacher in tuned.teachers_] == names
    weights = [teacher.weight for teacher in tuned.teachers_]
    np.testing.assert_allclose(weights, scipy.special.softmax([scores[n] / 0.1 for n in names]))


def test_the_targets_are_those_of_the_formula_over_other_dimensions_and_transforms() -> None:
    tuned = BTuning(dense("student", 12), zoo(), recipe=SHORT).fit(IMAGES, LABELS)
    inputs = torch.from_numpy(IMAGES).float()
    expected = sum(
        teacher.weight
        * features_of_all(teacher.backbone, inputs, torch.device("cpu"))
        @ teacher.means.T
        for teacher in tuned.teachers_
    )
    assert {teacher.means.shape[1] for teacher in tuned.teachers_} == {8, 144, 40}
    np.testing.assert_allclose(tuned.targets_.values[0], expected, rtol=1e-4, atol=1e-5)


def test_without_strength_it_is_plain_fine_tuning_to_the_bit() -> None:
    student = convolutional("student")
    taught = BTuning(student, zoo(), strength=0, recipe=SHORT).fit(IMAGES, LABELS)
    plain = FineTuning(student, recipe=SHORT).fit(IMAGES, LABELS)
    strong = BTuning(student, zoo(), recipe=SHORT).fit(IMAGES, LABELS)
    assert bits(taught) == bits(plain) != bits(strong)


def test_strength_draws_the_student_to_the_teachers() -> None:
    student, recipe = dense("student", 12), Recipe(epochs=12, batch=16, learning_rate=0.01)
    gaps = []
    for strength in (1e-6, 300.0):
        tuned = BTuning(student, zoo(), strength=strength, recipe=recipe).fit(IMAGES, LABELS)
        gaps.append(tuned.history_[-1]["penalty"] / strength)
    assert gaps[1] < 0.5 * gaps[0]


def test_teachers_stay_as_they_were() -> None:
    models = zoo()
    before = [checksum(model.module.state_dict().values()) for model in models]
    BTuning(models[0], models, recipe=SHORT).fit(IMAGES, LABELS)
    assert [checksum(model.module.state_dict().values()) for model in models] == before
    assert all(model.module.training for model in models)


def test_targets_and_evidence_are_used_again() -> None:
    def refuse(inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a teacher was asked again")

    augment = partial(shaken, size=0.2)
    student = dense("student", 12)
    first = BTuning(student, zoo(), recipe=SHORT, augment=augment, views=2).fit(IMAGES, LABELS)
    silent = [Backbone(model.name, model.module, refuse) for model in zoo()]
    again = BTuning(student, silent, recipe=SHORT, augment=augment, views=2).fit(
        IMAGES, LABELS, evidence=first.evidence_, targets=first.targets_
    )
    assert bits(again) == bits(first)
    assert not np.array_equal(first.targets_.values[0], first.targets_.values[1])


def test_evidence_that_is_given_decides() -> None:
    dice = np.random.default_rng(0)
    widths = {"student": 12, "narrow": 8, "conv": 144, "wide": 40}
    scores = {"student": 0.0, "narrow": 3.0, "conv": 2.0, "wide": 1.0}
    known = {
        name: Evidence(scores[name], dice.normal(size=(10, width)))
        for name, width in widths.items()
    }
    tuned = BTuning(dense("student", 12), zoo(), top=1, recipe=SHORT).fit(
        IMAGES, LABELS, evidence=known
    )
    assert [teacher.backbone.name for teacher in tuned.teachers_] == ["narrow"]
    assert tuned.teachers_[0].weight == 1
    assert tuned.teachers_[0].means is known["narrow"].means


def test_distillation_knows_no_scale_of_a_teacher() -> None:
    small = zoo()[0]
    large = Backbone("narrow", torch.nn.Sequential(small.module, Scale(64.0)))
    gaps = []
    for model in (small, large):
        known = {"narrow": Evidence(0.0, np.zeros((10, 8)))}
        tuned = FeatureDistillation(dense("student", 12), [model], top=1, recipe=SHORT)
        gaps.append(tuned.fit(IMAGES, LABELS, evidence=known).history_[-1]["penalty"])
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-5)
    assert gaps[0] < 1


class Scale(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.factor


def test_distillation_takes_teachers_of_other_dimensions_and_learns_their_features() -> None:
    recipe = Recipe(epochs=12, batch=16, learning_rate=0.01)
    tuned = FeatureDistillation(dense("student", 12), zoo(), recipe=recipe).fit(IMAGES, LABELS)
    assert tuned.targets_.values.shape == (1, 120, 8 + 144 + 40)
    assert tuned.history_[-1]["penalty"] < 0.7 * tuned.history_[0]["penalty"]


@pytest.mark.parametrize("method", [BTuning, FeatureDistillation])
def test_settings_that_make_no_sense_are_refused(
    method: type[BTuning] | type[FeatureDistillation],
) -> None:
    with pytest.raises(ArgumentError, match="strength is -1, but 0 is the least"):
        method(dense("student", 12), zoo(), strength=-1).fit(IMAGES, LABELS)
    with pytest.raises(ArgumentError, match="top is 9"):
        method(dense("student", 12), zoo(), top=9).fit(IMAGES, LABELS)
    with pytest.raises(ArgumentError, match="several models are named wide"):
        method(dense("wide", 12), [*zoo(), dense("wide", 12)]).fit(IMAGES, LABELS)
