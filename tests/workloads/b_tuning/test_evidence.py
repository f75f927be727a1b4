"""Evidence: features of all samples in float64, LogME on them, and the order of teachers."""

import numpy as np
import pytest
import torch
from tests.workloads.b_tuning.cases import convolutional, dense, digits

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.evidence import Evidence, best, evidence_of, features_of_all
from crossdock.workloads.logme import LogME

CPU = torch.device("cpu")


def test_evidence_is_logme_on_the_features_that_the_model_gives_without_noise() -> None:
    images, labels = digits(300)
    inputs = torch.from_numpy(images).float()
    model = convolutional("conv")
    features = features_of_all(model, inputs, CPU)
    with torch.no_grad():
        expected = model.module.eval()(inputs.reshape(-1, 1, 8, 8) * 2 - 1)
    np.testing.assert_allclose(features, expected.double(), rtol=1e-5, atol=1e-6)
    found = evidence_of(model, inputs, labels, CPU)
    fitted = LogME().fit(features, labels)
    assert found.score == fitted.score_
    assert found.means.shape == (10, 144)
    # A ridge regression on one-hot labels, whose predictions therefore tell the classes.
    assert ((features @ found.means.T).argmax(axis=1) == labels).mean() > 0.9


def test_the_best_come_first_and_equals_by_their_place() -> None:
    models = [dense(name, 2) for name in "abcd"]
    scores = {"a": 0.1, "b": 0.5, "c": -1.0, "d": 0.5}
    known = {name: Evidence(score, np.zeros((2, 2))) for name, score in scores.items()}
    assert [model.name for model in best(models, known, 3)] == ["b", "d", "a"]


@pytest.mark.parametrize("top", [0, 3])
def test_more_teachers_than_there_are_cannot_be_chosen(top: int) -> None:
    with pytest.raises(ArgumentError, match=f"top is {top}, but must be between 1 and 2"):
        best([dense("a", 2), dense("b", 2)], {}, top)
