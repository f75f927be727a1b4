"""The definition of every expert-parallel mode, in plain PyTorch on one process.

All ranks are simulated at once: a function takes a list with one entry per rank and returns a
list with one entry per rank. Speed does not matter here; every other implementation is compared
with this one.
"""

from .elastic import ElasticDispatched, elastic_combine, elastic_dispatch
from .fp8 import fp8_cast, fp8_uncast
from .layouts import Layout, layout
from .logfmt import logfmt_decode, logfmt_encode, logfmt_roundtrip
from .low_latency import LowLatencyDispatched, low_latency_combine, low_latency_dispatch
from .normal_combine import Bias, Combined, combine
from .normal_dispatch import Dispatched, dispatch

__all__ = [
    "Bias",
    "Combined",
    "Dispatched",
    "ElasticDispatched",
    "Layout",
    "LowLatencyDispatched",
    "combine",
    "dispatch",
    "elastic_combine",
    "elastic_dispatch",
    "fp8_cast",
    "fp8_uncast",
    "layout",
    "logfmt_decode",
    "logfmt_encode",
    "logfmt_roundtrip",
    "low_latency_combine",
    "low_latency_dispatch",
]
