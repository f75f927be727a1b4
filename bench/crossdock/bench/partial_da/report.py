"""What the bench says: a table of methods, and whether they hold what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from scipy.stats import bootstrap

from crossdock.bench import plot, text
from crossdock.bench.partial_da.shifts import MILD
from crossdock.bench.partial_da.trials import Trial
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.text import Column, Value
from crossdock.workloads.partial_da.selection import BY_DEV, LAST, ORACLE, SOURCE

BASE = "source-only"
JUDGED = ("san", "san++", "etn")
WEIGHED = ("san++", "etn")
"""Methods whose weights must tell shared from outlier classes."""
AUROC_MIN = 0.9
CONFIDENCE = 0.95
_RESAMPLES = 9999
_ROUNDING = 1e-12
_PANEL_INCHES = (5.0, 3.8)

NOTES = (
    "accuracy on the target, in percent, mean over seeds: at the last step, at the checkpoint of",
    "source validation, of DEV (- where DEV refused all checkpoints of some seed), and of the",
    "oracle, which saw the target's labels and is no method;",
    "ahead: last less last of source-only, paired by seed, with a 95% BCa bootstrap interval;",
    "AUROC: of the weights of source examples, shared against outlier classes, mean and least of",
    "the seeds; san++ is a reconstruction; see bench/crossdock/bench/partial_da/trials.py for what",
    "was fixed beforehand, and on which seeds",
)
COLUMNS = (
    Column("shift", "", 15, left=True),
    Column("method", "", 11, left=True),
    Column("last", "%", 6, 1),
    Column("source", "%", 6, 1),
    Column("DEV", "%", 6, 1),
    Column("oracle", "%", 6, 1),
    Column("ahead", "%", 6, 1),
    Column("from", "%", 6, 1),
    Column("to", "%", 6, 1),
    Column("better", "", 6),
    Column("AUROC", "", 6, 3),
    Column("least", "", 6, 3),
    Column("fit", "s", 6, 1),
)


class PartialRecord(Record, kw_only=True):
    """With every trial."""

    trials: list[Trial] = msgspec.field(default_factory=list)


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    assert isinstance(record, PartialRecord)
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, rows(record.trials))
    yield "#"
    yield from verdicts(record.trials)


def rows(trials: Sequence[Trial]) -> Iterator[Mapping[str, Value]]:
    """A row for each shift and method."""
    for shift in dict.fromkeys(trial.shift for trial in trials):
        here = [trial for trial in trials if trial.shift == shift]
        for method in dict.fromkeys(trial.method for trial in here):
            yield row([trial for trial in here if trial.method == method], of(here, BASE))


def of(trials: Sequence[Trial], method: str) -> np.ndarray:
    """Last accuracies (seeds,) of a method, by seed."""
    own = sorted((t for t in trials if t.method == method), key=lambda trial: trial.seed)
    return np.array([trial.accuracy[LAST] for trial in own])


def row(own: Sequence[Trial], base: np.ndarray) -> Mapping[str, Value]:
    """Figures of one method on one shift, beside source-only with the same seeds."""
    first = own[0]
    gains = of(own, first.method) - base
    weighed = [trial.auroc for trial in own if trial.auroc is not None]
    told: dict[str, Value] = {
        "shift": first.shift,
        "method": first.method,
        "last": _mean(own, LAST),
        "source": _mean(own, SOURCE),
        "DEV": _mean(own, BY_DEV),
        "oracle": _mean(own, ORACLE),
        "AUROC": float(np.mean(weighed)) if weighed else None,
        "least": min(weighed) if weighed else None,
        "fit": float(np.median([trial.seconds for trial in own])),
    }
    if first.method != BASE:
        low, high = interval(gains)
        told |= {"ahead": 100 * float(gains.mean()), "from": 100 * low, "to": 100 * high}
        told["better"] = f"{int((gains > 0).sum())}/{len(gains)}"
    return told


def _mean(trials: Sequence[Trial], selector: str) -> float | None:
    """In percent; None where the selector could not choose in each."""
    found = [trial.accuracy[selector] for trial in trials if selector in trial.accuracy]
    return 100 * float(np.mean(found)) if len(found) == len(trials) else None


def interval(gains: np.ndarray) -> tuple[float, float]:
    """Bootstrap interval of the mean of paired differences (seeds,)."""
    if np.ptp(gains) < _ROUNDING:  # nothing to resample
        return float(gains.mean()), float(gains.mean())
    found = bootstrap(
        (gains,), np.mean, n_resamples=_RESAMPLES, confidence_level=CONFIDENCE, rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def verdicts(trials: Sequence[Trial]) -> Iterator[str]:
    """Held or not held, a line each."""
    for one in rows(trials):
        shift, method = one["shift"], one["method"]
        low, high, area = one.get("from"), one.get("to"), one["AUROC"]
        if method in JUDGED and isinstance(low, float) and isinstance(high, float):
            word = "held" if low > 0 else "not held"
            yield f"# {word}: {method} beats {BASE} on {shift} ({low:+.1f} to {high:+.1f} points)"
        if method in WEIGHED and isinstance(area, float):
            word = "held" if area >= AUROC_MIN else "not held"
            asked = f"asked {AUROC_MIN}" if str(shift).startswith(MILD) else "not asked"
            word = word if str(shift).startswith(MILD) else "told"
            yield f"# {word}: AUROC of {method}'s weights on {shift} is {area:.3f}, {asked}"


def series_of(trials: Sequence[Trial]) -> list[Series]:
    """Seconds of the fits, by method and shift."""
    rounds: dict[tuple[str, str], list[list[float]]] = {}
    for trial in trials:
        rounds.setdefault((trial.method, trial.shift), []).append([trial.seconds])
    return [
        Series(contender=f"{OURS} {method}", point={"shift": shift}, rounds=each)
        for (method, shift), each in rounds.items()
    ]


def draw(record: Record, path: Path) -> None:
    """Accuracy of each method ahead of source-only with its interval, a panel for each shift."""
    assert isinstance(record, PartialRecord)
    shifts = list(dict.fromkeys(trial.shift for trial in record.trials))
    wide, high = _PANEL_INCHES
    canvas = plot.figures().Figure(figsize=(wide * len(shifts), high), layout="constrained")
    axes = canvas.subplots(1, len(shifts), squeeze=False, sharey=True)[0]
    told = [one for one in rows(record.trials) if one["method"] != BASE]
    for axis, shift in zip(axes, shifts, strict=True):
        here = [one for one in told if one["shift"] == shift]
        ahead = np.array([one["ahead"] for one in here], float)
        ends = np.array([[one["from"], one["to"]] for one in here], float).T
        axis.bar([str(one["method"]) for one in here], ahead, yerr=np.abs(ends - ahead), capsize=3)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(shift)
        axis.tick_params(axis="x", rotation=45)
    axes[0].set_ylabel(f"points ahead of {BASE}")
    canvas.suptitle(f"crossdock bench {record.question}, git {record.git}, {record.machine.cpu}")
    canvas.savefig(path)
