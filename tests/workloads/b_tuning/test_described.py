"""Models described for ranking, as backbones: the features that ranking sees, with gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.described import Body, backbone_of, weights_of
from crossdock.workloads.b_tuning.training import Network
from crossdock.workloads.rank import networks
from crossdock.workloads.rank.models import Model

HERE = "tests.workloads.b_tuning.test_described"


class Small(nn.Module):
    """Square pictures to source labels, with a head in the middle of its code."""

    def __init__(self, labels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
        self.fc = nn.Linear(72, labels)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.fc(self.layers(inputs)), 1)


class Twice(Small):
    """Asks its head twice."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.add(self.fc(self.layers(inputs)), self.fc(self.layers(inputs)))


def features() -> nn.Module:
    """A model that has no head."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(64, 5), nn.ReLU())


def described(factory: str = "Small", **given: object) -> Model:
    torch.manual_seed(1)
    weights = save(Small().state_dict()) if factory != "features" else None
    settings = {"shape": (1, 8, 8), "head": "fc", **given}
    return Model(name="small", factory=f"{HERE}:{factory}", weights=weights, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "model", [described(), described("features", shape=None, head=None)], ids=["head", "none"]
)
def test_features_are_those_that_are_ranked(model: Model) -> None:
    inputs = np.random.default_rng(0).random((6, 64), np.float32)
    expected = networks.Network(model)(inputs).features
    backbone = backbone_of(model)
    found = backbone.frozen(torch.device("cpu"))(torch.from_numpy(inputs))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    backbone(torch.from_numpy(inputs)).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in backbone.module.parameters())


def test_a_tuned_model_goes_back_into_its_own_class() -> None:
    backbone = backbone_of(described())
    network = Network(backbone, 72, 10)
    assert isinstance(backbone.module, Body)
    again = Small(labels=10)
    again.load_state_dict(weights_of(network.state_dict(), backbone.module.head))
    inputs = torch.rand(4, 64)
    network.eval()
    expected = torch.log_softmax(network(inputs)[1], 1)
    torch.testing.assert_close(again.eval()(inputs.reshape(-1, 1, 8, 8)), expected)


def test_a_head_that_the_model_never_had_gets_a_name() -> None:
    backbone = backbone_of(described("features", shape=None, head=None))
    names = weights_of(Network(backbone, 5, 3).state_dict(), "")
    assert set(names) == {"0.weight", "0.bias", "head.weight", "head.bias"}


def test_a_head_that_runs_twice_is_refused() -> None:
    with pytest.raises(ArgumentError, match="head 'fc' ran 2 times"):
        backbone_of(described("Twice"))(torch.rand(2, 64))
