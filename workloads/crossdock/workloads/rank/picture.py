"""Scores against accuracies, a panel for each score."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from crossdock.workloads.rank.ranking import Entry
from crossdock.workloads.rank.scores import SCORES

_PANEL_INCHES = 3.2
_COLUMNS = 4


def scatter(entries: Sequence[Entry], scores: Sequence[str]) -> Figure:
    """A point for each model whose accuracy is known, with the interval of its score."""
    across = min(_COLUMNS, len(scores))
    down = -(-len(scores) // across)
    figure = Figure((_PANEL_INCHES * across, _PANEL_INCHES * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axis, name in zip(axes, scores, strict=False):
        points = [
            (own.value, own.half_width or 0.0, entry.accuracy)
            for entry in entries
            if entry.accuracy is not None
            and entry.scores is not None
            and (own := entry.scores[name]).value is not None
        ]
        if points:
            values, errors, accuracies = zip(*points, strict=True)
            axis.errorbar(values, accuracies, xerr=errors, fmt="o", markersize=3, linewidth=0.7)
        axis.set_xlabel(SCORES[name].title)
    for axis in axes[len(scores) :]:
        axis.set_visible(False)
    for axis in axes[::across]:
        axis.set_ylabel("accuracy")
    return figure
