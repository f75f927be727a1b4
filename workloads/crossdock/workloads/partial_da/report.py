"""What a run says: a table of methods, curves, weights, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from safetensors.torch import save_file

from crossdock.workloads.partial_da.adaptation import Adapted
from crossdock.workloads.partial_da.domains import Domains
from crossdock.workloads.partial_da.selection import BY_DEV, LAST, ORACLE, SOURCE, Line
from crossdock.workloads.runner import Run

COLUMNS = (
    "method", "source accuracy", "DEV risk", "target: last", "by source", "by DEV", "oracle",
    "AUROC of weights",
)  # fmt: skip
_NOT_IN_FILES = str.maketrans({" ": "-", "(": "", ")": ""})


def write(
    run: Run, done: Mapping[str, Adapted], domains: Domains, selectors: Sequence[str]
) -> None:
    """Table, curves, weights and predictions of the checkpoint that the first able selector took.

    Args:
        done: results by the titles of methods.
        selectors: in order of preference; the last must be ``LAST``, which always can.
    """
    rows = [row(title, adapted) for title, adapted in done.items()]
    run.table("methods", COLUMNS, rows)
    if done:
        run.plot("curves", picture({title: one.history for title, one in done.items()}))
    taken: dict[str, str] = {}
    for title, adapted in done.items():
        selector = next(one for one in selectors if one in adapted.lines)
        taken[title] = selector
        _save(run, title, adapted, domains, selector)
    run.result["selector"] = taken
    run.result["history"] = {title: one.history for title, one in done.items()}
    run.result["selected"] = {title: dict(one.lines) for title, one in done.items()}


def row(title: str, adapted: Adapted) -> list[Any]:
    """Accuracies by each selector; the oracle, which saw target labels, stands apart."""
    last = adapted.history[-1]
    return [
        title,
        last["source_accuracy"],
        adapted.lines.get(BY_DEV, {}).get("dev_risk"),
        *(_accuracy(adapted.lines.get(name)) for name in (LAST, SOURCE, BY_DEV, ORACLE)),
        last.get("weight_auroc"),
    ]


def _accuracy(line: Line | None) -> float | None:
    error = None if line is None else line.get("target_error")
    return None if error is None else 1 - error


def _save(run: Run, title: str, adapted: Adapted, domains: Domains, selector: str) -> None:
    name = title.translate(_NOT_IN_FILES)
    state = adapted.picks.networks.get(selector, adapted.network.state_dict())
    tensors = {key: value.cpu().contiguous().clone() for key, value in state.items()}
    save_file(tensors, run.folder / f"{name}.safetensors")
    chances = adapted.predict_proba(domains.target, selector)
    arrays = {
        "target_probabilities": chances,
        "target_predictions": adapted.classes[chances.argmax(1)],
    }
    if adapted.weights is not None:
        arrays["source_weights"] = adapted.weights
    np.savez(run.folder / f"{name}.npz", allow_pickle=False, **arrays)


def picture(curves: Mapping[str, Sequence[Line]]) -> Figure:
    """A panel for each figure that all checks have, a line for each method."""
    known = {"source_loss": "source validation loss", "dev_risk": "DEV risk",
             "target_error": "target error"}  # fmt: skip
    names = [name for name in known if any(name in line for of in curves.values() for line in of)]
    figure = Figure((4.0 * len(names), 3.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(names)))
    for axis, name in zip(axes, names, strict=True):
        for title, lines in curves.items():
            told = [line for line in lines if name in line]
            axis.plot([line["step"] for line in told], [line[name] for line in told], label=title)
        axis.set_xlabel("step")
        axis.set_ylabel(known[name])
    axes[0].legend(fontsize="small")
    return figure
