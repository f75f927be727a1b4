"""How far to speculate, step by step: a controller that knows no engine.

After *TurboSpec* (arXiv 2406.14066): predict goodput, the tokens per second that requests get, from
estimates of acceptance and of the length of a step, and choose what promises most.
"""

from crossdock.serving.turbospec.controller import Controller
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.fixed import Fixed, Table
from crossdock.serving.turbospec.settings import Settings
from crossdock.serving.turbospec.step import Batch, Plan, Policy, Step, Verified, Work

__all__ = [
    "Batch",
    "Controller",
    "CostModel",
    "Fixed",
    "Plan",
    "Policy",
    "Settings",
    "Step",
    "Table",
    "Verified",
    "Work",
]
