"""Networks drawn at random: Tune mode is Eval mode in every step, and changes no training."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.workloads.conv_bn.cases import assert_same, assert_trains_alike, drawn, learnt
from tests.workloads.conv_bn.graphs import WIDTHS, Drawn, networks
from torch import nn

from crossdock.workloads.conv_bn import DeployStepWarning, convert, report_of, tune_mode

EXAMPLES: dict[str, Any] = {
    "max_examples": 50,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


def ready(model: Drawn, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    for part in model.parts:
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.reset_parameters()
    return learnt(model, seed)


@given(networks(), st.integers(0, 9), st.sampled_from(["recompute", "tune"]), st.booleans())
@settings(**EXAMPLES)
def test_any_network(model: Drawn, seed: int, way: Any, trace: bool) -> None:
    model_of_layers = ready(model, seed)
    x = drawn(2, WIDTHS[1], 4, 4, seed=seed)
    tuned = tune_mode(model_of_layers, ways=way, trace=trace)
    assert list(tuned.state_dict()) == list(model_of_layers.state_dict())
    assert_same(tuned, model_of_layers, x)
    assert_trains_alike(tuned, model_of_layers, x)


@given(networks(), st.integers(0, 9))
@settings(**EXAMPLES)
def test_any_network_folded(model: Drawn, seed: int) -> None:
    right = ready(model, seed)
    x = drawn(2, WIDTHS[1], 4, 4, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeployStepWarning)
        folded = convert(copy.deepcopy(right), "deploy")
    for mine, expected in zip(folded(x), right(x), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def test_drawn_networks_have_pairs_of_all_outcomes() -> None:
    """Else the properties above would say nothing."""
    seen: set[str] = set()

    @given(networks())
    @settings(**EXAMPLES, derandomize=True, database=None)
    def look(model: Drawn) -> None:
        report = report_of(tune_mode(model.eval()))
        seen.update(report.counts() if report else ())

    look()
    assert seen == {"joined", "at run time", "left"}
