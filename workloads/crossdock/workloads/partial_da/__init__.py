"""Partial domain adaptation: the target has some of the source's classes, and no labels.

    domains = Domains(source=..., labels=..., validation=..., ..., target=..., classes=...)
    adapted = fit(Task(method=ETN(), domains=domains, backbone="cnn", dev=DEV()))
    adapted.predict(inputs, "dev")

SAN, ETN, and SAN++, which is a reconstruction: its paper was out of reach. SourceOnly, DANN, PADA,
IWAN and AFN are what they are compared with.
"""

from crossdock.workloads.partial_da.adaptation import Adapted, Task, fit
from crossdock.workloads.partial_da.domains import Domains
from crossdock.workloads.partial_da.errors import AdaptationFailed, NotFiniteLoss, NotPartial
from crossdock.workloads.partial_da.methods import (
    AFN,
    DANN,
    ETN,
    IWAN,
    METHODS,
    PADA,
    SAN,
    Method,
    SANPlusPlus,
    SourceOnly,
)
from crossdock.workloads.partial_da.recipe import Recipe

__all__ = [
    "AFN",
    "DANN",
    "ETN",
    "IWAN",
    "METHODS",
    "PADA",
    "SAN",
    "AdaptationFailed",
    "Adapted",
    "Domains",
    "Method",
    "NotFiniteLoss",
    "NotPartial",
    "Recipe",
    "SANPlusPlus",
    "SourceOnly",
    "Task",
    "fit",
]
