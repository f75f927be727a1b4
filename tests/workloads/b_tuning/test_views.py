"""Views are functions of the sample and the augmentation seed, and of nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.b_tuning.cases import SAMPLES, views

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.views import Views


@settings(max_examples=20, deadline=None)
@given(
    chosen=st.lists(st.integers(0, SAMPLES - 1), min_size=1, max_size=8),
    view=st.integers(0, 2),
    noise=st.integers(0, 9),
)
def test_a_view_depends_on_no_company_and_no_history(
    chosen: list[int], view: int, noise: int
) -> None:
    seen = views(3)
    torch.manual_seed(noise)
    together = seen.of(torch.tensor(chosen), view)
    alone = [views(3).of(torch.tensor([sample]), view)[0] for sample in chosen]
    assert torch.equal(together, torch.stack(alone))


def test_views_samples_and_seeds_differ() -> None:
    seen = views(2)
    first = torch.arange(3)
    noise = seen.of(first, 0) - seen.inputs[first]
    assert not torch.equal(seen.of(first, 0), seen.of(first, 1))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(views(2, seed=1).of(first, 0), seen.of(first, 0))


@given(samples=st.integers(1, 40), count=st.integers(1, 3), size=st.integers(1, 50))
def test_chunks_cover_everything_once(samples: int, count: int, size: int) -> None:
    seen = Views(torch.zeros(samples, 1), lambda sample, dice: sample, count)
    met = [(view, i) for view, first, end in seen.chunks(size) for i in range(first, end)]
    assert met == [(view, i) for view in range(count) for i in range(samples)]
    assert all(end - first <= size for _, first, end in seen.chunks(size))


def test_several_views_without_augmentation_are_refused() -> None:
    with pytest.raises(ArgumentError, match="views is 2, but without `augment`"):
        Views(torch.zeros(3, 1), None, 2)
    with pytest.raises(ArgumentError, match="views is 0, but 1 is the least"):
        Views(torch.zeros(3, 1), None, 0)
