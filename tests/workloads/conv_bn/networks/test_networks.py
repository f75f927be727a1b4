"""Networks of the field: their sizes, and Tune mode on each of them."""

from __future__ import annotations

import pytest
import torch
from tests.workloads.conv_bn.cases import assert_same, drawn, learnt, stepped

from crossdock.workloads.conv_bn import Way, report_of, tune_mode
from crossdock.workloads.conv_bn.networks import NETWORKS

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "densenet121": 7_978_856,
}
"""As published (by torchvision)."""
JOINED = {"resnet18": 20, "resnet50": 53, "mobilenet_v2": 52, "densenet121": 59, "decoder": 5}


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_their_published_sizes(name: str) -> None:
    with torch.device("meta"):
        model = NETWORKS[name]()
        assert sum(one.numel() for one in model.parameters()) == PARAMETERS[name]
        assert model.eval()(torch.empty(2, 3, 64, 64)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("way", "trace"), [("recompute", True), ("tune", True), ("recompute", False)]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_that_of_eval_mode(name: str, way: Way, trace: bool) -> None:
    torch.manual_seed(0)
    model = learnt(NETWORKS[name]())
    tuned = tune_mode(model, ways=way, trace=trace)
    report = report_of(tuned)
    assert report is not None
    assert report.counts().get("joined", 0) == (JOINED[name] if trace else 0)
    assert_same(tuned, model, drawn(2, 3, 32, 32))
    if not trace:
        seen = report_of(tuned)
        assert seen is not None
        assert sum(line.seen == "tuned" for line in seen.lines) == JOINED[name]


def test_the_measure_sees_a_wrong_gradient() -> None:
    model = learnt(NETWORKS["decoder"]())
    wrong = learnt(NETWORKS["decoder"]())
    wrong.load_state_dict(model.state_dict())
    wrong[1].running_var *= 1 + 1e-9  # type: ignore[index,operator]
    with pytest.raises(AssertionError):
        assert_same(wrong, model, drawn(2, 3, 8, 8))
    assert len(stepped(model, drawn(2, 3, 8, 8))) == 2 + len(list(model.parameters()))
