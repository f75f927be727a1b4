"""The risks of candidates as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_INCHES_WIDE, _INCHES_A_ROW, _INCHES_MARGIN = 7.0, 0.3, 1.4
_NORMAL_95 = 1.96


def risks(values: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Any:
    """A figure of matplotlib: for each candidate the risk by DEV with 95 %, IWCV, source risk.

    Args:
        values: by candidate, with "risk" (a ``DevRisk`` as a dictionary) and "scores".
        names: from top to bottom.
    """
    from matplotlib.figure import Figure

    high = _INCHES_MARGIN + _INCHES_A_ROW * len(names)
    figure = Figure(figsize=(_INCHES_WIDE, high), layout="constrained")
    axis = figure.subplots()
    rows = range(len(names))
    found = [values[name]["risk"] for name in names]
    axis.errorbar(
        [risk["risk"] for risk in found],
        rows,
        xerr=[_NORMAL_95 * risk["standard_error"] for risk in found],
        fmt="o",
        capsize=3,
        label="DEV, 95 %",
    )
    for name, title, mark in (("iwcv", "IWCV", "x"), ("source", "source risk", "|")):
        axis.plot([values[one]["scores"][name] for one in names], rows, mark, label=title)
    axis.set_yticks(rows, names, fontsize="small")
    axis.invert_yaxis()
    axis.set_xlabel("risk")
    axis.grid(visible=True, axis="x", alpha=0.3)
    axis.legend(fontsize="small")
    return figure
