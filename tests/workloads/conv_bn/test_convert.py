"""The modes, and what a converted model is."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tests.workloads.conv_bn.cases import Pair, assert_same, assert_trains_alike, drawn, learnt
from torch import Tensor, nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.conv_bn import (
    DeployStepWarning,
    ModelNotCopied,
    NoBatchNorm,
    convert,
    report_of,
    tune_mode,
)
from crossdock.workloads.conv_bn.convert import Mode
from crossdock.workloads.conv_bn.networks import resnet18
from crossdock.workloads.conv_bn.report import Report


def small() -> nn.Module:
    torch.manual_seed(0)
    pair = Pair(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return learnt(nn.Sequential(pair, nn.ReLU(), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)))


def reported(model: nn.Module) -> Report:
    report = report_of(model)
    assert report is not None
    return report


X = (2, 3, 5, 5)


@pytest.mark.parametrize("trace", [True, False])
def test_a_tuned_model_is_the_model_in_all_else(trace: bool) -> None:
    model = small()
    classes = [type(each) for each in model.modules()]
    tuned = tune_mode(model, trace=trace)
    assert [type(each) for each in model.modules()] == classes, "the model itself is not changed"
    assert report_of(model) is None
    assert list(dict(tuned.named_modules())) == list(dict(model.named_modules()))
    assert all(isinstance(new, old) for new, old in zip(tuned.modules(), classes, strict=True))
    assert isinstance(tuned.get_submodule("0.conv"), nn.Conv2d)
    assert isinstance(tuned.get_submodule("0.norm"), nn.BatchNorm2d)
    assert str(tuned) == str(model)
    pairs = zip(model.parameters(), tuned.parameters(), strict=True)
    assert all(mine is theirs for mine, theirs in pairs)
    assert all(a is b for a, b in zip(model.buffers(), tuned.buffers(), strict=True))


@pytest.mark.parametrize("trace", [True, False])
def test_states_are_loaded_both_ways(trace: bool) -> None:
    model, tuned = small(), tune_mode(learnt(small(), seed=5), trace=trace)
    assert list(model.state_dict()) == list(tuned.state_dict())
    assert not torch.equal(model(drawn(*X)), tuned(drawn(*X)))
    tuned.load_state_dict(model.state_dict())
    assert_same(tuned, model, drawn(*X))
    other = learnt(small(), seed=6)
    other.load_state_dict(tuned.state_dict())
    assert_same(tuned, other, drawn(*X))


@pytest.mark.parametrize("trace", [True, False])
def test_copies_and_pickles_stay_tuned(trace: bool) -> None:
    model = small()
    tuned = tune_mode(model, trace=trace)
    copied = copy.deepcopy(tuned)
    loaded = pickle.loads(pickle.dumps(tuned))  # noqa: S301
    twice = pickle.loads(pickle.dumps(copy.deepcopy(loaded)))  # noqa: S301
    for each in (copied, loaded, twice):
        assert type(each) is type(tuned)
        assert reported(each).counts() == reported(tuned).counts()
        assert_same(each, model, drawn(*X))
        assert_trains_alike(each, model, drawn(*X))
        with torch.no_grad():
            each.get_parameter("0.conv.weight").mul_(2)
    assert_same(tuned, model, drawn(*X))


def test_a_pickle_of_other_code_runs_as_that_code(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pickle.dumps(tune_mode(small()))
    monkeypatch.setattr(Pair, "forward", lambda self, x, *more: self.norm(self.conv(x)))
    loaded = pickle.loads(kept)  # noqa: S301
    assert type(loaded.get_submodule("0")) is Pair
    assert_same(loaded, small(), drawn(*X))


def test_training_goes_on_with_an_optimizer_made_before() -> None:
    model, right = small(), small()
    optimizers = [torch.optim.SGD(each.parameters(), 0.01, momentum=0.9) for each in (model, right)]
    tuned = tune_mode(model)
    for step in range(3):
        assert_same(tuned, right, drawn(*X, seed=step), near=1e-11)
        for each in optimizers:
            each.step()
    for mine, theirs in zip(tuned.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-13)


def test_each_mode_and_back() -> None:
    model = small()
    x = drawn(*X)
    expected = model(x)
    tuned = convert(model, "tune")
    assert reported(tuned).counts() == {"joined": 2}
    plain = convert(tuned, "eval")
    assert [type(each) for each in plain.modules()] == [type(each) for each in model.modules()]
    assert torch.equal(plain(x), expected)
    trained = convert(tuned, "train")
    assert reported(trained).counts() == {"set": 2}
    assert all(each.training for each in trained.modules() if isinstance(each, nn.BatchNorm2d))
    assert not trained.get_submodule("1").training
    again = convert(convert(trained, "tune"), "tune")
    assert reported(again).counts() == {"joined": 2}
    torch.testing.assert_close(again(x), expected)


def test_in_place_is_in_place() -> None:
    model = small()
    conv = model.get_submodule("0.conv")
    assert tune_mode(model, inplace=True) is model
    assert model.get_submodule("0.conv") is conv
    assert_same(model, small(), drawn(*X))
    assert convert(model, "eval", inplace=True) is model
    assert type(model) is nn.Sequential
    assert type(conv) is nn.Conv2d


def test_norms_in_training_mode_are_told() -> None:
    model = small().train()
    tuned = tune_mode(model)
    assert "2 BatchNorms are in training mode" in str(report_of(tuned))
    assert_trains_alike(tuned, model, drawn(*X))
    modes: tuple[Mode, ...] = ("tune", "eval")
    for mode in modes:
        converted = convert(model.train(), mode)
        norms = [each for each in converted.modules() if isinstance(each, nn.BatchNorm2d)]
        assert not any(norm.training for norm in norms)
        assert converted.training, "only the norms are set"
    assert "2 BatchNorms were in training mode" in str(report_of(convert(model.train(), "tune")))
    assert reported(convert(model.train(), "eval")).counts() == {"set": 2}


def test_folding() -> None:
    model = small()
    x = drawn(*X)
    with pytest.warns(DeployStepWarning, match=r"1 / s\^2 times"):
        folded = convert(model, "deploy")
    assert reported(folded).counts() == {"folded": 2}
    torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-12)
    assert isinstance(folded.get_submodule("0.norm"), nn.Identity)
    assert isinstance(model.get_submodule("0.norm"), nn.BatchNorm2d)
    assert_same(model, small(), x)
    weight = folded.get_submodule("0.conv").weight
    assert isinstance(weight, nn.Parameter)
    norm: Any = model.get_submodule("0.norm")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = model.get_parameter("0.conv.weight") * scale[:, None, None, None]
    torch.testing.assert_close(weight, expected)


def test_folding_a_network() -> None:
    model = learnt(resnet18(10))
    with pytest.warns(DeployStepWarning):
        folded = convert(copy.deepcopy(model), "deploy", inplace=True)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    x = drawn(2, 3, 32, 32)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-11, atol=1e-11)


def test_what_cannot_be_folded_stays() -> None:
    shared = nn.Conv2d(3, 3, 1)
    hooked = Pair(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    hooked.conv.register_forward_hook(lambda module, given, out: out)
    tied = [Pair(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(2)]
    tied[0].conv.weight = tied[1].conv.weight
    parts = [Pair(shared, nn.BatchNorm2d(3)), Pair(shared, nn.BatchNorm2d(3)), hooked, *tied]
    model = learnt(nn.Sequential(*parts))
    folded = convert(model, "deploy")
    reasons = [line.reason for line in reported(folded).lines]
    assert ["several places" in reason for reason in reasons] == [True, True, False, False, False]
    assert "hooks wait" in reasons[2]
    assert all("shares a parameter" in reason for reason in reasons[3:])
    assert_same(folded, model, drawn(*X))


class Twice(Pair):
    """Calls both two times."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.norm(self.conv(2 * x))  # type: ignore[no-any-return]


class Unforeseen(nn.Module):
    """No trace sees its call of a convolution that it shares."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if float(x.detach().sum()) < 1e9 else x


def test_parts_that_are_called_elsewhere_are_not_folded() -> None:
    twice = Twice(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    pair = Pair(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    for model in (twice, nn.Sequential(pair, Unforeseen(pair.conv))):
        learnt(model)
        folded = convert(model, "deploy")
        assert set(reported(folded).counts()) == {"left"}
        assert_same(folded, model, drawn(*X))


@pytest.mark.parametrize("mode", ["train", "eval", "tune", "deploy"])
def test_a_model_without_norms_is_refused(mode: Mode) -> None:
    with pytest.raises(NoBatchNorm, match="Sequential has no BatchNorm module"):
        convert(nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4)), mode)
    with pytest.raises(NoBatchNorm):
        tune_mode(nn.Linear(2, 2))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="mode 'fast' is unknown; choose from train, eval"):
        convert(small(), "fast")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="way 'both' is unknown"):
        tune_mode(small(), ways="both")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="needs inputs="):
        tune_mode(small(), ways="auto")
    with pytest.raises(ArgumentError, match="'norm', which is no BatchNorm of the model"):
        tune_mode(small(), ways={"norm": "eval"})
    with pytest.raises(ArgumentError, match=r"way 'no' for 0\.norm is unknown"):
        tune_mode(small(), ways=lambda layer: "no" if layer.norm_name == "0.norm" else "tune")  # type: ignore[arg-type,return-value]


def test_a_model_that_cannot_be_copied_is_changed_itself() -> None:
    model = small()
    model.lock = (number for number in range(3))  # type: ignore[assignment]
    with pytest.raises(ModelNotCopied, match="give inplace=True"):
        tune_mode(model)
    assert_same(tune_mode(model, inplace=True), small(), drawn(*X))


LEFT: dict[str, tuple[Any, Any, str]] = {
    "devices": (nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, device="meta"), "is on cpu, the BN on meta"),
    "channels": (nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5), "gives 4 channels, the BN takes 5"),
    "dimensions": (nn.Conv2d(3, 4, 1), nn.BatchNorm1d(4), "does not take what a Conv2d gives"),
    "statistics": (
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), "normalises by the batch",
    ),
    "complex": (nn.Conv2d(3, 4, 1, dtype=torch.complex64), nn.BatchNorm2d(4), "only real"),
    "parametrized": (
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4),
        "parametrization",
    ),
    "lazy": (nn.LazyConv2d(4, 1), nn.BatchNorm2d(4), "is lazy"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_pairs_that_are_none_are_left_with_a_reason(name: str) -> None:
    conv, norm, said = LEFT[name]
    tuned = tune_mode(Pair(conv, norm).eval())
    line = reported(tuned).lines[0]
    assert line.outcome == "left"
    assert said in line.reason
    assert said in str(reported(tuned))


def test_statistics_of_the_batch_are_used_where_no_others_are() -> None:
    model = learnt(Pair(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)))
    for trace in (True, False):
        assert_same(tune_mode(model, trace=trace), model, drawn(*X))
