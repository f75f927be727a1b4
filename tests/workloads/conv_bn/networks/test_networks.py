"""Networks of the field: their sizes, and Tune mode on each of them."""

from __future__ import annotations

import pytest
import torch
from tests.workloads.conv_bn.cases import NEAR, assert_same, drawn, farthest, learnt, stepped

from crossdock.workloads.conv_bn import Way, report_of, tune_mode
from crossdock.workloads.conv_bn.networks import NETWORKS

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "densenet121": 7_978_856,
}
"""As published (by torchvision)."""
_WAYS: list[tuple[Way, bool]] = [("recompute", True), ("tune", True), ("recompute", False)]
JOINED = {"resnet18": 20, "resnet50": 53, "mobilenet_v2": 52, "densenet121": 59, "decoder": 5}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_their_published_sizes(name: str) -> None:
    with torch.device("meta"):
        model = NETWORKS[name]()
        assert sum(one.numel() for one in model.parameters()) == PARAMETERS[name]
        assert model.eval()(torch.empty(2, 3, 64, 64)).shape == (2, 1000)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_that_of_eval_mode(name: str) -> None:
    torch.manual_seed(0)
    model = learnt(NETWORKS[name]())
    x = drawn(2, 3, 32, 32)
    expected = stepped(model, x)
    for way, trace in _WAYS:
        tuned = tune_mode(model, ways=way, trace=trace)
        assert farthest(stepped(tuned, x), expected) <= NEAR
        report = report_of(tuned)
        assert report is not None
        assert report.counts().get("joined", 0) == (JOINED[name] if trace else 0)
        seen = sum(line.seen == "tuned" for line in report.lines)
        assert seen == (0 if trace else JOINED[name])


def test_the_measure_sees_a_wrong_gradient() -> None:
    model = learnt(NETWORKS["decoder"]())
    wrong = learnt(NETWORKS["decoder"]())
    wrong.load_state_dict(model.state_dict())
    wrong[1].running_var *= 1 + 1e-9  # type: ignore[index]
    with pytest.raises(AssertionError):
        assert_same(wrong, model, drawn(2, 3, 8, 8))
    assert len(stepped(model, drawn(2, 3, 8, 8))) == 2 + len(list(model.parameters()))
