"""Memory by batch as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossdock.workloads.runner import Value

_GIB = float(2**30)


def batches(found: Mapping[str, Value], cap: float) -> Any:
    """A figure of matplotlib: bytes that a step takes by its batch, and the cap, in bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, value in found.items():
        tries = sorted(value["tries"])
        axis.plot([one[0] for one in tries], [one[1] / _GIB for one in tries], "o-", label=name)
    axis.axhline(cap / _GIB, color="black", linestyle="--", label="cap")
    axis.set_xlabel("batch")
    axis.set_ylabel("memory of a step, GiB")
    axis.grid(visible=True, alpha=0.3)
    axis.legend(fontsize="small")
    return figure
