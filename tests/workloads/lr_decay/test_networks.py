"""Built-in networks, and those of others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.lr_decay.networks import Network, cnn, factory, mlp


def of_a_user(shape: tuple[int, ...], classes: int) -> Network:
    return Network(nn.Sequential(nn.Flatten(), nn.Tanh()), nn.Linear(4, classes))


@pytest.mark.parametrize(
    ("shape", "made"),
    [((7,), mlp), ((3, 8, 8), mlp), ((8, 8), cnn), ((3, 9, 12), cnn), ((2, 2), of_a_user)],
)
def test_logits_come_from_features(shape: tuple[int, ...], made: object) -> None:
    network = made(shape, 5)  # type: ignore[operator]
    inputs = torch.randn(6, *shape)
    assert network(inputs).shape == (6, 5)
    assert torch.equal(network(inputs), network.head(network.body(inputs)))
    assert network.body(inputs).ndim == 2


def test_factories_are_found_by_name() -> None:
    assert factory("mlp") is mlp
    assert factory("tests.workloads.lr_decay.test_networks:of_a_user") is not None


@pytest.mark.parametrize("name", ["resnet", "no.such:module", "torch:nothing_of_it", ":"])
def test_unknown_factories_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="none of mlp, cnn and no MODULE:FUNCTION"):
        factory(name)


@pytest.mark.parametrize("shape", [(64,), (3, 3), (1, 2, 8, 8)])
def test_cnn_wants_pictures(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="are no pictures for a cnn"):
        cnn(shape, 3)
