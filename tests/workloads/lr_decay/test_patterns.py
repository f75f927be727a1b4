"""Drawn patterns: their complexity in closed form, and from what labels can be read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.patterns import Block, Patterns, World, complexity_of


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def variance_within(inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean over classes of the trace of the covariance, as a statistician would estimate it."""
    classes = range(int(labels.max()) + 1)
    return float(torch.stack([inputs[labels == c].var(0).sum() for c in classes]).mean())


blocks = st.builds(
    Block,
    width=st.integers(1, 40),
    prototypes=st.integers(1, 12),
    scale=st.floats(0.0, 3.0),
    noise=st.floats(0.0, 1.0),
)


@settings(max_examples=20, deadline=None)
@given(
    simple=blocks,
    fine=blocks,
    parts=st.floats(0.0, 1.0).flatmap(lambda a: st.tuples(st.just(a), st.floats(0.0, 1.0 - a))),
    seed=st.integers(0, 1000),
)
def test_complexity_is_the_variance_that_samples_have(
    simple: Block, fine: Block, parts: tuple[float, float], seed: int
) -> None:
    patterns = Patterns(
        classes=3, simple=simple, complex=fine, simple_only=parts[0], complex_only=parts[1]
    )
    world = World(patterns, chance(seed))
    samples = world.draw(30_000, chance(seed + 1))
    parts_of_input = samples.inputs.split_with_sizes([simple.width, fine.width], 1)
    for block, prototypes, shown, inputs in (
        (simple, world.simple, patterns.simple_shown, parts_of_input[0]),
        (fine, world.complex, patterns.complex_shown, parts_of_input[1]),
    ):
        expected = complexity_of(prototypes, block.noise, shown)
        # Of 10,000 samples a class; a prototype that is all of a block varies most.
        room = 0.04 * (block.scale**2 + block.width * block.noise**2) + 1e-6
        assert variance_within(inputs, samples.labels) == pytest.approx(expected, abs=room)


@settings(max_examples=20, deadline=None)
@given(block=blocks, shown=st.floats(0.0, 1.0), seed=st.integers(0, 1000))
def test_expected_complexity_is_the_mean_over_drawn_prototypes(
    block: Block, shown: float, seed: int
) -> None:
    drawn = block.draw(4000, chance(seed))
    found = complexity_of(drawn, block.noise, shown)
    room = 0.06 * block.scale**2 + 1e-6
    assert found == pytest.approx(block.complexity(shown), abs=room)


def test_complexity_of_cases_known_by_hand() -> None:
    assert Block(width=5, prototypes=1, scale=3.0, noise=0.0).complexity() == 0.0
    assert Block(width=5, prototypes=1, scale=3.0, noise=2.0).complexity() == 20.0
    assert Block(width=5, prototypes=4, scale=2.0, noise=0.0).complexity() == 3.0
    coin = Block(width=5, prototypes=1, scale=2.0, noise=0.0)
    assert coin.complexity(shown=0.5) == 1.0
    two = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert complexity_of(two, 0.0) == 1.0


def test_more_prototypes_are_more_complex() -> None:
    values = [Block(width=9, prototypes=count).complexity() for count in (1, 2, 8, 32)]
    assert values == sorted(values)
    assert len(set(values)) == 4


def nearest(inputs: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """The class of the prototype that points the same way."""
    _, count, width = prototypes.shape
    best = (inputs @ prototypes.reshape(-1, width).T).argmax(1)
    return best // count


@pytest.mark.parametrize(
    ("simple_only", "complex_only"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.2)]
)
def test_labels_can_be_read_from_the_blocks_that_are_shown(
    simple_only: float, complex_only: float
) -> None:
    patterns = Patterns(simple_only=simple_only, complex_only=complex_only)
    quiet = replace(
        patterns,
        simple=replace(patterns.simple, noise=0.0),
        complex=replace(patterns.complex, noise=0.0),
    )
    world = World(quiet, chance())
    samples = world.draw(4000, chance(1))
    simple, fine = samples.inputs.split_with_sizes([16, 64], 1)
    by_simple, by_complex = simple.abs().sum(1) > 0, fine.abs().sum(1) > 0
    assert bool((by_simple | by_complex).all()), "each sample shows its class"
    assert float(by_simple.float().mean()) == pytest.approx(1 - complex_only, abs=0.03)
    assert float(by_complex.float().mean()) == pytest.approx(1 - simple_only, abs=0.03)
    for block, shown, prototypes in (
        (simple, by_simple, world.simple),
        (fine, by_complex, world.complex),
    ):
        told = nearest(block[shown], prototypes)
        assert bool((told == samples.labels[shown]).all())


def test_classes_are_alike_and_draws_repeat() -> None:
    world = World(Patterns(), chance())
    samples = world.draw(200, chance(1))
    assert torch.bincount(samples.labels).tolist() == [20] * 10
    again = world.draw(200, chance(1))
    assert torch.equal(samples.inputs, again.inputs)
    assert not torch.equal(samples.inputs, world.draw(200, chance(2)).inputs)
    with pytest.raises(ArgumentError, match=r"15 samples cannot be shared by 10 classes"):
        world.draw(15, chance())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"prototypes": 0}, "prototypes is 0"),
        ({"noise": -0.1}, r"noise is -0\.1"),
        ({"scale": float("nan")}, "scale is nan"),
    ],
)
def test_blocks_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    given: dict[str, float] = {"width": 4, "prototypes": 2, **values}
    with pytest.raises(ArgumentError, match=message):
        Block(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 1}, "classes are 1"),
        ({"simple_only": 0.6, "complex_only": 0.5}, r"simple_only 0\.6 and complex_only 0\.5"),
        ({"simple_only": -0.1}, r"simple_only -0\.1"),
    ],
)
def test_patterns_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Patterns(**values)  # type: ignore[arg-type]
