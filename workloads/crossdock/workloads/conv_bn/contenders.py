"""What a model is compared as: each way to train with BNs in eval mode."""

from __future__ import annotations

import warnings
from typing import Literal

from torch import nn

from crossdock.workloads.conv_bn.convert import convert
from crossdock.workloads.conv_bn.errors import DeployStepWarning

Contender = Literal["eval", "tune", "recompute", "deploy"]
"""Modes, and tune in its two ways: s w kept for the backward pass, or computed again in it."""


def contender(model: nn.Module, name: Contender) -> nn.Module:
    """The model so converted; what it was stays as it was."""
    if name in ("tune", "recompute"):
        return convert(model, "tune", ways="tune" if name == "tune" else "recompute")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeployStepWarning)  # it is only measured
        return convert(model, "deploy" if name == "deploy" else "eval")
