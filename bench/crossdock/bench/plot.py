"""The record as a picture: medians of all contenders, a panel for each kind of measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crossdock.bench.errors import BaselineMissing
from crossdock.bench.record import Record, Series
from crossdock.proxy.errors import ArgumentError

PANEL_INCHES = (6.0, 4.0)


def save(
    record: Record,
    path: Path,
    panel_of: Callable[[Series], str],
    along: str,
    value: Callable[[Series], float],
    unit: str,
) -> None:
    """Draw `value` of each series along the coordinate `along`.

    Coordinates that are numbers make lines over a logarithmic axis, names make bars.
    """
    panels: dict[str, list[Series]] = {}
    for series in record.series:
        panels.setdefault(panel_of(series), []).append(series)
    wide, high = PANEL_INCHES
    canvas = figures().Figure(figsize=(wide * len(panels), high), layout="constrained")
    axes = canvas.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, members) in zip(axes, panels.items(), strict=True):
        _draw(axis, members, along, value)
        axis.set_title(title)
        axis.set_xlabel(along)
        axis.set_ylabel(unit)
        axis.legend(fontsize="small")
    canvas.suptitle(f"crossdock bench {record.question}, git {record.git}, {record.machine.cpu}")
    canvas.savefig(path)


def expect_drawable(path: Path) -> None:
    """BaselineMissing without matplotlib, ArgumentError for a kind of file that it cannot write."""
    kinds = figures().Figure().canvas.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in kinds:
        raise ArgumentError(
            f"--plot {path} ends in {path.suffix}; end it in one of {', '.join(sorted(kinds))}"
        )


def figures() -> Any:
    """matplotlib's module of figures; BaselineMissing without it."""
    try:
        from matplotlib import figure
    except ImportError as error:
        raise BaselineMissing(
            f"--plot needs matplotlib ({error}): pip install 'crossdock[bench]'"
        ) from error
    return figure


def _draw(
    axis: Any, members: Sequence[Series], along: str, value: Callable[[Series], float]
) -> None:
    contenders = list(dict.fromkeys(series.contender for series in members))
    places = list(dict.fromkeys(series.point[along] for series in members))
    numeric = all(isinstance(place, int) for place in places) and len(places) > 1
    width = 0.8 / len(contenders)
    for i, contender in enumerate(contenders):
        own = [series for series in members if series.contender == contender]
        heights = [value(series) for series in own]
        if numeric:
            axis.plot([series.point[along] for series in own], heights, "o-", label=contender)
            continue
        shift = (i - (len(contenders) - 1) / 2) * width
        spots = [places.index(series.point[along]) + shift for series in own]
        axis.bar(spots, heights, width, label=contender)
    if numeric:
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.grid(visible=True, alpha=0.3)
    else:
        axis.set_xticks(range(len(places)), [str(place) for place in places])
