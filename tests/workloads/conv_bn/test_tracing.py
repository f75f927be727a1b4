"""Forwards that a trace would get wrong are seen for what they are."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from tests.workloads.conv_bn.cases import Pair, assert_same, assert_trains_alike, drawn, learnt
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import checkpoint

from crossdock.workloads.conv_bn import report_of, tracing, tune_mode

STATE = {"scale": 2.0}


class Base(Pair):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.calls = 0
        self.seen: list[Any] = []
        self.offset: Any
        self.register_buffer("offset", torch.tensor(0.5))

    def blocks(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


class AsksTraining(Base):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(self.blocks(x), 1.0, training=self.training)


class AsksChild(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) * (2 if self.norm.training else 1)


class PartWithoutGradient(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.blocks(x)
        return y + x.sum()


class PartWithoutAutocast(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=True):
            return self.blocks(x).double()


class Decorated(Base):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Counts(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.blocks(x) * self.calls


class Remembers(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.blocks(x)


class Stores(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.blocks(x)
        return self.last


class MakesConstants(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) + torch.ones(1, dtype=torch.float64)


class ThrowsDice(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) if random.random() < 2 else x


class ThrowsTorchDice(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) + float(torch.rand(()) > 2)


class AsksClass(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) if isinstance(x, Tensor) else x


class AsksTorchForClass(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) if torch.is_tensor(x) else x


class AsksParameter(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) if not isinstance(x, nn.Parameter) else x


class Optional(Base):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.blocks(x) if mask is None else self.blocks(x) * mask


class Recomputes(Base):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint.checkpoint(self.blocks, x, use_reentrant=False)
        return out


class Variadic(Base):
    def forward(self, *x: Tensor) -> Tensor:
        return self.blocks(x[0])


class Looks(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) if x.shape[0] > 1 else x


class AsksForGradients(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) if torch.is_grad_enabled() else -self.blocks(x)


class SetsData(Base):
    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(x)
        y.data = y.data * 2
        return y


WORDS: dict[type[Base], str] = {
    AsksTraining: "asks whether it is training",
    AsksForGradients: "takes gradients",
    SetsData: r"sets an attribute of a value \(data\)",
    AsksChild: "asks whether it is training",
    PartWithoutGradient: "gradient mode",
    PartWithoutAutocast: "autocast",
    Decorated: "gradient mode",
    Counts: "changes the module.*calls",
    Remembers: "changes the module",
    Stores: "changes the module.*last",
    MakesConstants: "makes constants",
    ThrowsDice: "throws dice",
    ThrowsTorchDice: "throws dice",
    AsksClass: "asks of which class",
    AsksTorchForClass: "asks of which class",
    AsksParameter: "asks of which class",
    Optional: r"optional argument \(mask\)",
    Recomputes: "checkpoint|asks of which class",
    Variadic: "any number of arguments",
    Looks: "control flow",
}


def thrown() -> tuple[Any, ...]:
    """The states of all dice."""
    of_numpy: Any = np.random.get_state()
    return (random.getstate(), of_numpy[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_what_a_trace_would_lose_ends_it(kind: type[Base]) -> None:
    model = learnt(kind())
    before = {name: value for name, value in model.__dict__.items() if name != "training"}
    dice = thrown()
    with pytest.raises(tracing.Untraceable, match=WORDS[kind]):
        tracing.graph_of(model)
    after = {name: value for name, value in model.__dict__.items() if name != "training"}
    assert after == before
    assert not model.training
    assert dice == thrown()


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_and_the_model_does_what_it_did(kind: type[Base]) -> None:
    model = learnt(kind())
    tuned = tune_mode(model)
    report = report_of(tuned)
    assert report is not None
    assert report.counts() == {"at run time": 1}
    x = drawn(2, 3, 4, 4)
    if kind is Decorated:
        assert torch.equal(tuned(x), model(x))
        return
    assert_same(tuned, model, x)
    for each in (tuned, model):
        each.__dict__.pop("last", None)  # what hangs in a graph cannot be copied
        each.__dict__["seen"] = []
    assert_trains_alike(tuned, model, x)


def test_buffers_parameters_and_inner_modules_are_read_at_each_call() -> None:
    class Reads(Base):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks(x) * self.offset.exp() * self.factor.exp()  # type: ignore[no-any-return]

    model = Reads()
    learnt(model)
    tuned = tune_mode(model)
    report = report_of(tuned)
    assert report is not None
    assert report.counts() == {"joined": 1}
    for step in range(2):
        model.offset.fill_(step)
        model.factor.data.fill_(-step)
        assert_same(tuned, model, drawn(2, 3, 4, 4))


def test_a_replaced_forward_stays() -> None:
    model = learnt(Base())
    model.forward = lambda x: x + 1
    tuned = tune_mode(model)
    assert torch.equal(tuned(torch.zeros(2)), torch.ones(2))
    report = report_of(tuned)
    assert report is not None
    assert report.untraced == {"": "its forward was replaced"}


def test_isinstance_is_put_back() -> None:
    before = isinstance
    tracing.graph_of(Base())
    with pytest.raises(tracing.Untraceable):
        tracing.graph_of(AsksClass())
    assert isinstance is before


class WritesByOperators(Base):
    """Each line writes into what `early` names, too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(x)
        early = y
        y += 1
        y *= 2
        y -= x.sum()
        y /= 3
        y **= 2
        return early * y


def test_operators_that_write_in_place_do() -> None:
    model = learnt(WritesByOperators())
    tuned = tune_mode(model)
    report = report_of(tuned)
    assert report is not None
    assert report.counts() == {"joined": 1}
    with torch.no_grad():
        x = drawn(2, 3, 4, 4)
        torch.testing.assert_close(tuned(x), model(x))


def test_a_graph_does_not_depend_on_the_gradient_mode_of_its_making() -> None:
    for kind in (AsksForGradients, PartWithoutGradient, Decorated):
        with torch.no_grad(), pytest.raises(tracing.Untraceable):
            tracing.graph_of(learnt(kind()))
