"""A study as pictures, as the paper has them: what is learnt by epoch, and what features gain."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from crossdock.workloads.lr_decay.checks import CONFIDENCE
from crossdock.workloads.lr_decay.results import Study

_INCHES = 3.2, 2.4
_SPREAD = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def learning(study: Study) -> Any:
    """A figure of matplotlib: a row for each place of the grid, a column for each measure.

    Lines are means over seeds; bands hold 95 % of the seeds.
    """
    places, measures = study.places(), study.measures
    figure, axes = _figure(len(places), len(measures))
    for row, (place, trials) in zip(axes, places.items(), strict=True):
        for axis, measure in zip(row, measures, strict=True):
            for i, name in enumerate(study.names):
                curves = study.curves(trials, measure, name)
                if np.isnan(curves).all():
                    continue
                epochs = np.arange(curves.shape[1])
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # an epoch that none reached
                    axis.plot(epochs, np.nanmean(curves, 0), color=f"C{i}", label=name)
                    axis.fill_between(
                        epochs, *np.nanquantile(curves, _SPREAD, 0), color=f"C{i}", alpha=0.15
                    )
            axis.set_title(f"{measure}, {place}", fontsize="small")
            axis.set_xlabel("epoch")
            axis.grid(visible=True, alpha=0.3)
    axes[0][0].set_ylabel("part of samples")
    axes[0][0].legend(fontsize="x-small")
    return figure


def transfer(study: Study) -> Any:
    """A figure of matplotlib: gains on each target until the decay and after it, over the grid."""
    figure, axes = _figure(1, len(study.targets))
    for axis, target in zip(axes[0], study.targets, strict=True):
        for i, schedule in enumerate(study.decaying):
            stages = study.curves(study.trials, f"transfer {target}", schedule.name)
            gains = np.diff(stages[~np.isnan(stages).any(1)], axis=1)
            if not len(gains):
                continue
            error = gains.std(0, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else np.zeros(2)
            places = np.arange(2) + 0.8 * i / len(study.decaying)
            wide = 0.7 / len(study.decaying)
            axis.bar(places, gains.mean(0), wide, yerr=error, capsize=3, label=schedule.name)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks([0.2, 1.2], ["until the decay", "after it"])
        axis.set_title(f"{target}: gain +- standard error", fontsize="small")
        if axis.patches:
            axis.legend(fontsize="x-small")
    return figure


def _figure(rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    wide, high = _INCHES
    figure = Figure(figsize=(wide * columns, high * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)
