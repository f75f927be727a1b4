"""The terms of the loss, against the formulas written out."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.losses import (
    FeatureAlignment,
    PosteriorAlignment,
    alignment,
    teacher_weights,
)
from crossdock.workloads.b_tuning.targets import TargetCache

SCORES = st.lists(st.floats(-50, 50), min_size=1, max_size=6)


@given(scores=SCORES, temperature=st.floats(0.01, 10), shift=st.floats(-100, 100))
def test_weights_are_a_softmax(scores: list[float], temperature: float, shift: float) -> None:
    weights = teacher_weights(scores, temperature)
    np.testing.assert_allclose(weights, scipy.special.softmax(np.array(scores) / temperature))
    moved = teacher_weights([score + shift for score in scores], temperature)
    np.testing.assert_allclose(moved, weights, rtol=1e-9, atol=1e-9)


def test_the_published_temperature_makes_a_tenth_worth_a_factor_of_e() -> None:
    first, second = teacher_weights([1.1, 1.0], 0.1)
    assert first / second == pytest.approx(np.e)


def test_infinite_scores_share_all_weight() -> None:
    assert teacher_weights([np.inf, 1.0, np.inf], 0.1).tolist() == [0.5, 0, 0.5]
    assert teacher_weights([-np.inf, 1.0], 0.1).tolist() == [0, 1]


@pytest.mark.parametrize("scores", [[np.nan, 1.0], [-np.inf, -np.inf]])
def test_models_without_a_score_are_refused(scores: list[float]) -> None:
    with pytest.raises(ArgumentError, match="rank models that have a score"):
        teacher_weights(scores, 0.1)


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ArgumentError, match="temperature is 0"):
        teacher_weights([1.0], 0)


def random(samples: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randn(samples, classes, generator=torch.Generator().manual_seed(seed)).double()


def test_the_papers_mean_is_the_mean_squared_error() -> None:
    predicted, target = random(7, 10, 0), random(7, 10, 1)
    expected = torch.nn.functional.mse_loss(predicted, target)
    assert alignment(predicted, target, "mean").item() == pytest.approx(expected.item())


@given(classes=st.integers(1, 300))
def test_both_reductions_agree_at_the_papers_100_classes(classes: int) -> None:
    predicted, target = random(3, classes, 2), random(3, classes, 3)
    ratio = alignment(predicted, target, "mean") / alignment(predicted, target, "fixed")
    assert ratio.item() == pytest.approx(100 / classes)


@given(more=st.integers(1, 90))
def test_classes_that_nothing_is_said_about_change_only_the_papers_mean(more: int) -> None:
    predicted, target = random(5, 10, 4), random(5, 10, 5)
    silent = torch.zeros(5, more, dtype=torch.float64)
    wider = torch.cat([predicted, silent], 1), torch.cat([target, silent], 1)
    assert alignment(*wider, "fixed").item() == alignment(predicted, target, "fixed").item()
    assert alignment(*wider, "mean") < alignment(predicted, target, "mean")


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ArgumentError, match="reduction is 'sum'; choose fixed or mean"):
        alignment(random(2, 2, 0), random(2, 2, 0), "sum")  # type: ignore[arg-type]


def filled(samples: int, width: int, views: int = 2) -> TargetCache:
    cache = TargetCache(samples, views, width)
    for view in range(views):
        cache.put(view, slice(0, samples), random(samples, width, 9 + view).float().numpy())
    return cache


def test_the_student_is_drawn_to_the_targets_of_its_samples_and_view() -> None:
    cache, means = filled(6, 3), random(3, 4, 1).numpy()
    features = random(2, 4, 2).float().requires_grad_()
    samples = torch.tensor([5, 2])
    loss = PosteriorAlignment(means, cache, 100.0, "fixed")(features, samples, 1)
    gap = features.detach().double().numpy() @ means.T - cache.values[1, [5, 2]]
    assert loss.item() == pytest.approx((gap**2).sum() / 2, rel=1e-5)
    loss.backward()
    assert features.grad is not None
    np.testing.assert_allclose(features.grad, gap @ means, rtol=1e-4, atol=1e-5)


def test_the_students_posterior_mean_is_not_trained() -> None:
    penalty = PosteriorAlignment(random(3, 4, 1).numpy(), filled(6, 3), 1.0, "fixed")
    assert list(penalty.parameters()) == []


def test_distillation_predicts_each_teachers_features() -> None:
    cache, widths, weights = filled(6, 5), [2, 3], np.array([0.75, 0.25])
    torch.manual_seed(0)
    penalty = FeatureAlignment(4, widths, weights, cache, 3.0)
    features, samples = random(2, 4, 2).float(), torch.tensor([1, 4])
    target = torch.from_numpy(cache.values[0, [1, 4]])
    first, second = (projection(features) for projection in penalty.projections)
    sizes = [np.sqrt((part**2).mean()) for part in np.split(cache.values, [2], axis=2)]
    expected = 0.75 * (first - target[:, :2] / sizes[0]).square().mean()
    expected = expected + 0.25 * (second - target[:, 2:] / sizes[1]).square().mean()
    assert penalty(features, samples, 0).item() == pytest.approx(3 * expected.item(), rel=1e-6)


def test_settings_tell_targets_apart() -> None:
    means = random(3, 4, 1).numpy()
    one = PosteriorAlignment(means, filled(6, 3, views=1), 1.0, "fixed").settings()
    two = PosteriorAlignment(means, filled(6, 3, views=2), 1.0, "fixed").settings()
    assert one != two
