"""Tune mode found at run time gives way wherever it would not be the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.workloads.conv_bn.cases import Pair, assert_same, assert_trains_alike, drawn, learnt
from torch import Tensor, nn

from crossdock.workloads.conv_bn import report_of, tune_mode


def seen(model: nn.Module) -> str | None:
    report = report_of(model)
    assert report is not None
    return report.lines[0].seen


def model_of(kind: type[Pair] = Pair) -> Pair:
    torch.manual_seed(0)
    model = kind(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
    learnt(model)
    return model


class ChangesOutput(Pair):
    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        out.mul_(2)
        return self.norm(out)  # type: ignore[no-any-return]


class ChangesAside(Pair):
    """A view of the output is written."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        out[:, 0].zero_()
        return self.norm(out)  # type: ignore[no-any-return]


class KeepsGradient(Pair):
    def forward(self, x: Tensor) -> Tensor:
        self.between = self.conv(x)
        self.between.retain_grad()
        return self.norm(self.between)  # type: ignore[no-any-return]


class HooksGradient(Pair):
    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        out.register_hook(lambda gradient: 2 * gradient)
        return self.norm(out)  # type: ignore[no-any-return]


class Detaches(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).detach())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ChangesOutput, "changed in place"),
        (ChangesAside, "changed in place"),
        (KeepsGradient, "waits for the gradient"),
        (HooksGradient, "waits for the gradient"),
        (Detaches, "no convolution's output"),
    ],
)
def test_what_happens_between_is_seen(kind: type[Pair], said: str) -> None:
    model = model_of(kind)
    tuned = tune_mode(model, trace=False)
    assert_same(tuned, model, drawn(2, 3, 4, 4))
    assert said in str(seen(tuned))
    if kind is KeepsGradient:
        assert tuned.between.grad is not None


def test_the_input_of_a_frozen_convolution_may_be_written() -> None:
    class Reuses(Pair):
        def forward(self, x: Tensor) -> Tensor:
            own = x.detach().clone()
            out = self.norm(self.conv(own))
            own.mul_(2)
            return out + own.sum() + x.sum()  # type: ignore[no-any-return]

    model = model_of(Reuses)
    model.conv.requires_grad_(False)
    for trace in (True, False):
        assert_same(tune_mode(model, trace=trace), model, drawn(2, 3, 4, 4))


def test_both_uses_of_an_output_get_their_gradient() -> None:
    class Twice(Pair):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            out = self.conv(x)
            return self.norm(out), out.sin()

    model = model_of(Twice)
    tuned = tune_mode(model)
    assert_same(tuned, model, drawn(2, 3, 4, 4))
    assert seen(tuned) == "tuned"


HOOKS: dict[str, Any] = {
    "forward": lambda module, hook: module.register_forward_hook(lambda m, i, o: 2 * o),
    "forward pre": lambda module, hook: module.register_forward_pre_hook(lambda m, i: (3 * i[0],)),
    "backward": lambda module, hook: module.register_full_backward_hook(
        lambda m, i, o: (None if i[0] is None else 5 * i[0],)
    ),
    "backward pre": lambda module, hook: module.register_full_backward_pre_hook(
        lambda m, o: (7 * o[0],)
    ),
    "old backward": lambda module, hook: module.register_backward_hook(
        lambda m, i, o: hook.append(o[0])
    ),
}


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("part", ["conv", "norm"])
@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_called_and_heard(name: str, part: str, trace: bool) -> None:
    """Also those that come after the conversion."""
    for early in (True, False):
        model = model_of()
        calls: tuple[list[Tensor], list[Tensor]] = ([], [])
        if early:
            HOOKS[name](getattr(model, part), calls[0])
            tuned = tune_mode(model, trace=trace)
        else:
            tuned = tune_mode(model, trace=trace)
            HOOKS[name](getattr(model, part), calls[0])
            HOOKS[name](getattr(tuned, part), calls[1])
        assert_same(tuned, model, drawn(2, 3, 4, 4), near=1e-13)
        if name == "old backward":
            assert len(calls[0]) + len(calls[1]) == 2


def test_hooks_of_all_modules_are_called() -> None:
    model = model_of()
    tuned = tune_mode(model)
    called: list[nn.Module] = []
    hook = nn.modules.module.register_module_forward_hook(lambda m, i, o: called.append(m))
    try:
        tuned(drawn(2, 3, 4, 4))
    finally:
        hook.remove()
    assert called == [tuned.conv, tuned.norm, tuned]
    called.clear()
    assert_same(tuned, model, drawn(2, 3, 4, 4))


def test_switching_at_run_time() -> None:
    for trace in (True, False):
        model = model_of()
        tuned = tune_mode(model, trace=trace)
        x = drawn(2, 3, 4, 4)
        for _ in range(2):
            assert_trains_alike(tuned, model, x)
            assert_same(tuned, model, x)
        tuned.norm.train()
        model.norm.train()
        assert_same(tuned, model, x)
        tuned.norm.eval()
        model.norm.eval()
        assert_same(tuned, model, x)


def test_without_gradients_the_numbers_are_the_same() -> None:
    model = model_of()
    for trace in (True, False):
        tuned = tune_mode(model, trace=trace)
        for mode in (torch.no_grad(), torch.inference_mode()):
            with mode:
                torch.testing.assert_close(tuned(drawn(2, 3, 4, 4)), model(drawn(2, 3, 4, 4)))
    with torch.inference_mode():
        made = torch.ones(2, 3, 4, 4, dtype=torch.float64)
    frozen = model_of().requires_grad_(False)
    assert not tune_mode(frozen, trace=False)(made).requires_grad


def test_modules_that_are_exchanged_later_count() -> None:
    model = model_of()
    tuned = tune_mode(model)
    for each in (model, tuned):
        each.norm = nn.Identity()
    assert_same(tuned, model, drawn(2, 3, 4, 4))
    other = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1).double())
    for each in (model, tuned):
        each.conv = other
        each.norm = learnt(nn.BatchNorm2d(4))
    assert_same(tuned, model, drawn(2, 3, 4, 4))
