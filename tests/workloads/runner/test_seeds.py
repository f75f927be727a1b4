"""Seeds: each use has its own, and the caller's chance stays as it was."""

import itertools

import pytest
import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.runner.seeds import Use, derived, generator, reproducible


def test_no_two_uses_share_a_seed() -> None:
    uses: list[tuple[int, ...]] = [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]
    seeds = [derived(seed, use, *places) for seed in (0, 1) for use in Use for places in uses]
    assert len(set(seeds)) == len(seeds)


def test_chance_inside_is_chosen_and_outside_untouched() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    drawn = []
    for _ in range(2):
        with reproducible(3, Use.EPOCH, 1):
            drawn.append(torch.rand(2))
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(4), expected)
    with reproducible(3, Use.EPOCH, 2):
        drawn.append(torch.rand(2))
    assert all(not torch.equal(a, b) for a, b in itertools.product(drawn[:2], drawn[2:]))


def test_a_generator_draws_what_its_place_says() -> None:
    first, again, other = (generator(3, Use.NOISE, place) for place in (1, 1, 2))
    drawn = [torch.rand(4, generator=one) for one in (first, again, other)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ArgumentError, match="seed is -1"):
        derived(-1, Use.VIEW)
