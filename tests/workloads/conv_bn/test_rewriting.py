"""A rewritten forward follows the module that it was written for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from tests.workloads.conv_bn.cases import Pair, assert_same, drawn, learnt
from torch import Tensor, nn

from crossdock.workloads.conv_bn import report_of, tune_mode
from crossdock.workloads.conv_bn.rewriting import Rewritten


class Scaled(Pair):
    """Reads attributes of its own."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.scale = 1.0
        self.factors = [1.0]
        self.last: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x)) * self.scale
        for factor in self.factors:
            out = out * factor
        return out if self.last is None else self.last(out)


def sequence() -> nn.Sequential:
    found = learnt(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    assert isinstance(found, nn.Sequential)
    return found


def _joined(model: nn.Module) -> bool:
    report = report_of(model)
    return report is not None and report.counts() == {"joined": 1}


CHANGES: list[tuple[Callable[[], nn.Module], Callable[[Any], object]]] = [
    (Scaled, lambda model: setattr(model, "scale", 3.0)),
    (Scaled, lambda model: model.factors.append(2.0)),
    (Scaled, lambda model: setattr(model, "last", nn.Tanh())),
    (sequence, lambda model: model.append(nn.Tanh())),
    (sequence, lambda model: model.insert(2, nn.Tanh())),
    (sequence, lambda model: model.pop(2)),
]


@pytest.mark.parametrize(("make", "change"), CHANGES)
def test_what_is_changed_later_counts(
    make: Callable[[], nn.Module], change: Callable[[Any], object]
) -> None:
    model = learnt(make())
    tuned = tune_mode(model)
    assert _joined(tuned)
    x = drawn(2, 3, 5, 5)
    assert_same(tuned, model, x)
    for each in (model, tuned):
        change(each)
    for _ in range(2):
        assert_same(tuned, model, x)
        assert_same(copy.deepcopy(tuned), model, x)


def test_a_change_after_which_there_is_no_graph_counts() -> None:
    class Asks(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return out if self.scale == 1.0 or x.sum() > 0 else -out

    model = learnt(Asks())
    tuned = tune_mode(model)
    assert _joined(tuned)
    for scale in (2.0, 1.0):
        model.scale = tuned.scale = scale  # type: ignore[assignment]
        for sign in (1, -1):
            x = (sign * drawn(2, 3, 5, 5).abs()).detach().requires_grad_()
            assert_same(tuned, model, x)


def test_the_forward_is_written_once_where_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuned = tune_mode(learnt(Scaled()))
    from crossdock.workloads.conv_bn import rewriting

    monkeypatch.setattr(rewriting, "_write", lambda *_: pytest.fail("written again"))
    tuned.register_forward_hook(lambda *_: None)
    for training in (True, False):
        tuned.train(training)
        tuned(drawn(2, 3, 5, 5))


def test_a_part_of_a_sequence_works() -> None:
    model = sequence()
    tuned = tune_mode(model)
    assert isinstance(tuned, Rewritten)
    assert_same(tuned[:2], model[:2], drawn(2, 3, 5, 5))
    assert_same(tune_mode(tuned[:2]), model[:2], drawn(2, 3, 5, 5))
