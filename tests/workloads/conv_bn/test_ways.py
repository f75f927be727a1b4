"""The choice by layer, and that the automatic one keeps least."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.conv_bn.cases import assert_same, drawn, learnt
from tests.workloads.conv_bn.test_convert import reported
from torch import Tensor, nn

from crossdock.workloads.conv_bn import Layer, Way, memory, tune_mode
from crossdock.workloads.conv_bn.ways import Ways


def network(*, wide_first: bool = True, trained: bool = True) -> nn.Module:
    """The first pair has a small output and a large weight; of the second it is the other way."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(8, 64 if wide_first else 4, 3, stride=3),
        nn.BatchNorm2d(64 if wide_first else 4),
        nn.Sigmoid(),
        nn.ConvTranspose2d(64 if wide_first else 4, 2, 1, stride=4),
        nn.BatchNorm2d(2),
        nn.Sigmoid(),
    )
    learnt(model)
    return model if trained else model.requires_grad_(False)


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


@given(st.booleans(), st.lists(st.booleans(), min_size=8, max_size=8), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_automatic_choice_keeps_least(
    wide: bool, trained: list[bool], input_trained: bool
) -> None:
    """Of all choices for two layers, whatever is trained."""
    model = network(wide_first=wide)
    for one, wanted in zip(model.parameters(), trained, strict=True):
        one.requires_grad_(wanted)
    x = drawn(*X).detach().requires_grad_(input_trained)
    if not any(trained) and not input_trained:
        return
    ways: tuple[Way, ...] = ("eval", "tune", "recompute")
    every = [
        kept(tune_mode(model, ways={"1": first, "4": second}), x)
        for first in ways
        for second in ways
    ]
    assert kept(tune_mode(model, ways="auto", inputs=(x,)), x) == min(every)


def test_the_choice_leaves_no_trace() -> None:
    model, x = network().train(), drawn(*X)
    dice = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tune_mode(model, ways="auto", inputs=(x,))
    assert all(each.training for each in model.modules())
    assert all(not each._forward_hooks for each in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(dice, torch.get_rng_state())
