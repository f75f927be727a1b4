"""Built-in backbones, and the nets of methods."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.features import WrongShape
from crossdock.workloads.partial_da import backbones
from crossdock.workloads.partial_da.networks import ClasswiseDiscriminators, Network, built_in
from crossdock.workloads.partial_da.reversal import ramp, reverse
from crossdock.workloads.rank.models import Model


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mlp", (7,)), ("mlp", (2, 3, 4)), ("cnn", (3, 9, 8)), ("cnn", (64,))],
)
def test_built_in_backbones_give_features(name: str, shape: tuple[int, ...]) -> None:
    features = built_in(name, shape)(torch.zeros(2, *shape))
    assert features.shape == (2, 64)


def test_inputs_that_do_not_suit_a_backbone_are_refused() -> None:
    with pytest.raises(WrongShape, match=r"not inputs of shape \(7,\); take mlp"):
        built_in("cnn", (7,))
    with pytest.raises(ArgumentError, match="backbone 'vgg' is not built in; choose mlp or cnn"):
        built_in("vgg", (7,))


def test_classwise_discriminators_learn_apart() -> None:
    """What one learns leaves the others alone, as if there were K networks."""
    torch.manual_seed(0)
    nets = ClasswiseDiscriminators(4, 5, 3)
    logits = nets(torch.randn(6, 4))
    assert logits.shape == (6, 3)
    logits[:, 1].sum().backward()
    for parameter in nets.parameters():
        assert parameter.grad is not None
        touched = parameter.grad.flatten(1).abs().sum(1) > 0
        assert touched.tolist() == [False, True, False]


def test_a_network_without_a_bottleneck_has_the_backbones_features() -> None:
    body = Backbone("own", nn.Linear(4, 3))
    inputs = torch.randn(2, 4)
    features, logits = Network(body, 3, 0, 5)(inputs)
    assert torch.equal(features, body.module(inputs))
    assert logits.shape == (2, 5)
    narrow = Network(body, 3, 2, 5)
    assert narrow(inputs)[0].shape == (2, 2)
    assert narrow.width == 2


def test_reversal_turns_and_scales_the_gradient() -> None:
    features = torch.tensor([1.0, -2.0], requires_grad=True)
    turned = reverse(features, 0.25)
    assert torch.equal(turned, features)
    turned.square().sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert features.grad.tolist() == [-0.5, 1.0]
    assert ramp(0) == 0
    assert ramp(1) == pytest.approx(1, abs=1e-4)


def test_backbones_are_found_by_name_and_description(tmp_path: Path) -> None:
    assert backbones.found("mlp") == "mlp"
    (tmp_path / "code.py").write_text(
        "from torch import nn\n\ndef net(width):\n"
        "    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 9))\n"
    )
    (tmp_path / "net.toml").write_text(
        'factory = "code.py:net"\nhead = "2"\n[arguments]\nwidth = 6\n'
    )
    model = backbones.found(str(tmp_path))
    assert isinstance(model, Model)
    assert backbones.built(model, (4,))(torch.zeros(2, 4)).shape == (2, 6)
    (tmp_path / "more.toml").write_text('factory = "code.py:net"\n')
    with pytest.raises(ArgumentError, match=r"has several models \(more, net\)"):
        backbones.found(str(tmp_path))
    with pytest.raises(ArgumentError, match="backbone nowhere: unknown"):
        backbones.found("nowhere")
