"""Features and labels as all scores of models take them, and the sums that many of them need."""

from crossdock.workloads.features.errors import (
    DataRefused,
    EmptyClass,
    NotFinite,
    OneClass,
    TooFewSamples,
    WrongShape,
    ZeroVariance,
)
from crossdock.workloads.features.inputs import Task
from crossdock.workloads.features.statistics import Moments, Statistics

__all__ = [
    "DataRefused",
    "EmptyClass",
    "Moments",
    "NotFinite",
    "OneClass",
    "Statistics",
    "Task",
    "TooFewSamples",
    "WrongShape",
    "ZeroVariance",
]
