"""Metrics of the controller where vLLM serves its own: at ``/metrics`` of the API server.

The controller lives in the process of the engine, ``/metrics`` in that of the API server. What one
counts goes to the other by small files in a folder that the API server makes, whose name its
children inherit. With several API servers, vLLM collects the files of ``prometheus_client`` of all
its processes instead, and so the engine's process counts there.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crossdock.serving.turbospec import totals
from crossdock.serving.turbospec.totals import METRICS, PREFIX, Samples

FOLDER = "CROSSDOCK_TURBOSPEC_METRICS_DIR"
"""Where the files are; set by the first process that vLLM's plug-ins are loaded in."""
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


@functools.cache
def serve() -> tempfile.TemporaryDirectory[str] | None:
    """Let this process show the metrics of the engines that it starts; its children do not."""
    if FOLDER in os.environ:
        return None
    from prometheus_client import REGISTRY

    folder = tempfile.TemporaryDirectory(prefix="crossdock-turbospec-")
    os.environ[FOLDER] = folder.name
    REGISTRY.register(_Collector(Path(folder.name)))
    return folder


def exporter(rank: int) -> Callable[[Samples], None] | None:
    """How the engine of a rank makes its metrics known; None: nobody would see them."""
    if _MULTIPROCESS in os.environ:
        return _Multiprocess(rank)
    if FOLDER in os.environ:
        return functools.partial(totals.write, Path(os.environ[FOLDER]), rank)
    return None


class _Collector:
    """Asked by the registry whenever ``/metrics`` is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def describe(self) -> list[Any]:
        """Nothing is known before engines run."""
        return []

    def collect(self) -> Iterator[Any]:
        """One family for each metric, of all ranks."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        ranks = totals.read(self._folder)
        for name, metric in METRICS.items():
            kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
            labels = ["engine"] if metric.label is None else ["engine", metric.label]
            family = kind(PREFIX + name, metric.text, labels=labels)
            for rank, samples in ranks.items():
                for label, value in samples.get(name, {}).items():
                    family.add_metric([rank, label][: len(labels)], value)
            yield family


class _Multiprocess:
    """Counts with ``prometheus_client``, which keeps the files that the API servers read."""

    def __init__(self, rank: int) -> None:
        from prometheus_client import Counter, Gauge

        self._rank = str(rank)
        self._known: dict[tuple[str, str], float] = {}
        self._metrics: dict[str, Any] = {}
        for name, metric in METRICS.items():
            labels = ["engine"] if metric.label is None else ["engine", metric.label]
            if metric.kind == "gauge":
                made: Any = Gauge(
                    PREFIX + name, metric.text, labels, multiprocess_mode="mostrecent"
                )
            else:
                made = Counter(PREFIX + name, metric.text, labels)
            self._metrics[name] = made

    def __call__(self, samples: Samples) -> None:
        for name, values in samples.items():
            for label, value in values.items():
                labels = [self._rank] if METRICS[name].label is None else [self._rank, label]
                child = self._metrics[name].labels(*labels)
                if METRICS[name].kind == "gauge":
                    child.set(value)
                else:
                    child.inc(value - self._known.get((name, label), 0.0))
                    self._known[name, label] = value
