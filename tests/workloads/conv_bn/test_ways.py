"""The choice by layer, and that the automatic one keeps least."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.conv_bn.cases import assert_same, drawn, learnt
from tests.workloads.conv_bn.test_convert import reported
from torch import Tensor, nn

from crossdock.workloads.conv_bn import Layer, Way, memory, tune_mode
from crossdock.workloads.conv_bn.ways import SPARE, Ways


def network() -> nn.Module:
    """The first pair has a small output and a large weight; of the second it is the other way."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(8, 64, 3, stride=3),
        nn.BatchNorm2d(64),
        nn.Sigmoid(),
        nn.ConvTranspose2d(64, 2, 1, stride=4),
        nn.BatchNorm2d(2),
        nn.Sigmoid(),
    )
    return learnt(model)


def kept(model: nn.Module, x: Tensor) -> int:
    return memory.counted(model, model, [x]).saved


def chosen(model: nn.Module, ways: Ways, x: Tensor) -> list[str | None]:
    return [line.way for line in reported(tune_mode(model, ways=ways, inputs=(x,))).lines]


X = (1, 8, 6, 6)


def test_one_for_all_by_name_and_by_function() -> None:
    model, x = network(), drawn(*X)
    layers: list[Layer] = []

    def choose(layer: Layer) -> Way:
        layers.append(layer)
        return "tune" if layer.norm_name == "4" else "eval"

    assert chosen(model, "tune", x) == ["tune", "tune"]
    assert chosen(model, {"1": "eval"}, x) == ["eval", "recompute"]
    assert chosen(model, choose, x) == ["eval", "tune"]
    assert [(layer.conv_name, layer.norm_name) for layer in layers] == [("0", "1"), ("3", "4")]
    assert isinstance(layers[0].conv, nn.Conv2d)
    for ways in ("tune", {"1": "eval"}, choose, {"1": "eval", "4": "eval"}):
        assert_same(tune_mode(model, ways=ways), model, x)  # type: ignore[arg-type]


def test_eval_leaves_all_as_it_was() -> None:
    model = network()
    tuned = tune_mode(model, ways="eval")
    assert [type(each) for each in tuned.modules()] == [type(each) for each in model.modules()]
    untraced = tune_mode(model, ways="eval", trace=False)
    assert [type(each) for each in untraced.modules()] == [type(each) for each in model.modules()]


@given(st.sampled_from([2, 6, 24, 95]), st.lists(st.booleans(), min_size=8, max_size=8))
@settings(max_examples=15, deadline=None)
def test_the_automatic_choice_saves_most(size: int, trained: list[bool]) -> None:
    """Of all choices for two layers, whatever is trained, but for what it may spare."""
    model = network()
    for one, wanted in zip(model.parameters(), trained, strict=True):
        one.requires_grad_(wanted)
    x = drawn(1, 8, size + 1, size + 1)
    ways: tuple[Way, ...] = ("eval", "tune", "recompute")
    every = {
        (first, second): kept(tune_mode(model, ways={"1": first, "4": second}), x)
        for first in ways
        for second in ways
    }
    least = min(every.values())
    assert least == every["recompute", "recompute"]
    found = kept(tune_mode(model, ways="auto", inputs=(x,)), x)
    assert found - least <= SPARE * (every["eval", "eval"] - least)


def test_the_automatic_choice_depends_on_shapes() -> None:
    """Of the second layer the weight is small, and its output grows with the input."""
    model = network()
    assert chosen(model, "auto", drawn(1, 8, 6, 6)) == ["recompute", "recompute"]
    assert chosen(model, "auto", drawn(1, 8, 96, 96)) == ["recompute", "tune"]


def test_the_choice_leaves_no_trace() -> None:
    model, x = network().train(), drawn(*X)
    dice = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tune_mode(model, ways="auto", inputs=(x,))
    assert all(each.training for each in model.modules())
    assert all(not each._forward_hooks for each in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(dice, torch.get_rng_state())
