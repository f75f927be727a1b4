"""Each term in float64 against its formula written out: values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.partial_da import plain

from crossdock.workloads.features import WrongShape
from crossdock.workloads.partial_da import losses

Tensor = torch.Tensor
ZERO = torch.zeros(3, 2)
SIZES = st.tuples(st.integers(2, 6), st.integers(1, 6), st.integers(0, 10_000))


def drawn(rows: int, columns: int, seed: int, scale: float = 2.0) -> Tensor:
    dice = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, columns, generator=dice, dtype=torch.float64)


def labels(rows: int, classes: int, seed: int) -> Tensor:
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed + 7))


def expect_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *given: Tensor) -> None:
    """Equal values, and equal gradients of all that is given."""
    results = []
    for function in (ours, theirs):
        inputs = [one.clone().requires_grad_() for one in given]
        value = function(*inputs)
        results.append((value, torch.autograd.grad(value, inputs, allow_unused=True)))
    (value, gradients), (other, others) = results
    torch.testing.assert_close(value, other, rtol=1e-11, atol=1e-12)
    for one, two in zip(gradients, others, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_weighted_cross_entropy(sizes: tuple[int, int, int]) -> None:
    classes, rows, seed = sizes
    y, w = labels(rows, classes, seed), drawn(rows, 1, seed + 1).exp().squeeze(1)
    expect_same(
        lambda z, w: losses.cross_entropy(z, y, w),
        lambda z, w: plain.cross_entropy(z, y, w),
        drawn(rows, classes, seed),
        w,
    )
    plainly = torch.nn.functional.cross_entropy(drawn(rows, classes, seed), y)
    torch.testing.assert_close(losses.cross_entropy(drawn(rows, classes, seed), y), plainly)


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_entropy(sizes: tuple[int, int, int]) -> None:
    classes, rows, seed = sizes
    expect_same(losses.entropy, plain.entropy, drawn(rows, classes, seed))


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_domain(sizes: tuple[int, int, int]) -> None:
    other, rows, seed = sizes
    w = drawn(rows, 1, seed + 2).exp().squeeze(1)
    near, far = drawn(rows, 1, seed).squeeze(1), drawn(other, 1, seed + 1).squeeze(1)
    expect_same(losses.domain, plain.domain, near, far, w)
    torch.testing.assert_close(
        losses.domain(near, far), plain.domain(near, far, torch.ones_like(near))
    )


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_classwise_domain(sizes: tuple[int, int, int]) -> None:
    classes, rows, seed = sizes
    parts = (drawn(rows, classes, seed), drawn(rows + 1, classes, seed + 1))
    chances = tuple(drawn(len(part), classes, seed + 2).softmax(1) for part in parts)
    gamma = drawn(1, classes, seed + 3).sigmoid().squeeze(0)
    expect_same(losses.classwise_domain, plain.classwise_domain, *parts, *chances, gamma)


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_conditional_domain(sizes: tuple[int, int, int]) -> None:
    classes, rows, seed = sizes
    parts = (drawn(rows, classes, seed), drawn(rows + 1, classes, seed + 1))
    weights = tuple(drawn(len(part), classes, seed + 2).sigmoid() for part in parts)
    expect_same(losses.conditional_domain, plain.conditional_domain, *parts, *weights)


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_leaky_softmax(sizes: tuple[int, int, int]) -> None:
    classes, rows, seed = sizes
    y, z = labels(rows, classes, seed), drawn(rows, classes, seed)
    expect_same(
        lambda z: losses.leaky_one_vs_rest(z, y), lambda z: plain.leaky_one_vs_rest(z, y), z
    )
    expect_same(
        lambda z: torch.sigmoid(losses.leaky_domain_logit(z)).square().sum(),
        lambda z: plain.leaky_domain_chance(z).square().sum(),
        z,
    )


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_norm_step(sizes: tuple[int, int, int]) -> None:
    width, rows, seed = sizes
    expect_same(
        lambda f: losses.norm_step(f, 0.7),
        lambda f: plain.norm_step(f, 0.7),
        drawn(rows, width, seed),
    )


@pytest.mark.parametrize("size", [40.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_logits_give_finite_values_and_gradients(size: float, dtype: torch.dtype) -> None:
    z = torch.tensor([[size, -size, 0.0], [-size, -size, -size], [size, size, size]], dtype=dtype)
    y = torch.tensor([1, 0, 2])
    for function in (
        lambda z: losses.leaky_one_vs_rest(z, y),
        lambda z: losses.domain(losses.leaky_domain_logit(z), -losses.leaky_domain_logit(z)),
        losses.entropy,
        lambda z: losses.cross_entropy(z, y),
    ):
        given = z.clone().requires_grad_()
        value = function(given)
        (gradient,) = torch.autograd.grad(value, given)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_a_sure_wrong_class_costs_its_logit() -> None:
    """log(1 - s) of the largest s: 1 - s is 2 e^-50 there, which 1 - s itself would lose."""
    z = torch.tensor([[50.0, -800.0]], dtype=torch.float64)
    value = losses.leaky_one_vs_rest(z, torch.tensor([1]))
    expected = (50 - torch.tensor(2.0, dtype=torch.float64).log()) + 850
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)


def test_class_weights_are_the_mean_prediction_of_the_largest() -> None:
    chances = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], dtype=torch.float64)
    expected = torch.tensor([0.8, 1.0, 0.2], dtype=torch.float64)
    torch.testing.assert_close(losses.class_weights(chances), expected)


def test_weights_within_classes_leave_each_class_as_it_is() -> None:
    weights = torch.tensor([0.1, 0.3, 5.0, 1e-30, 0.2], dtype=torch.float64)
    labels = torch.tensor([0, 0, 2, 3, 0])
    expected = torch.tensor([0.5, 1.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(losses.within_classes(weights, labels, 5), expected)


def test_weights_of_a_class_that_nobody_trusts_are_none() -> None:
    none = losses.within_classes(torch.zeros(2), torch.tensor([0, 1]), 2)
    assert none.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.cross_entropy(torch.zeros(3), torch.zeros(3)), r"logits .*\(3,\)"),
        (
            lambda: losses.cross_entropy(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long)),
            r"labels have shape \(2,\), not \(3\)",
        ),
        (lambda: losses.domain(torch.zeros(3, 1), torch.zeros(3)), "source logits"),
        (
            lambda: losses.domain(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1)),
            "source weights",
        ),
        (
            lambda: losses.classwise_domain(ZERO, ZERO, ZERO, ZERO, torch.zeros(5)),
            r"source logits have shape \(3, 2\), not \(any, 5\)",
        ),
        (
            lambda: losses.conditional_domain(ZERO, ZERO, ZERO, torch.zeros(3)),
            "target weights",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(WrongShape, match=message):
        call()
