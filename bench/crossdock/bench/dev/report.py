"""The report: as text and as a picture."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from crossdock.bench import plot, text
from crossdock.bench.dev.toy import Toy
from crossdock.bench.dev.trials import Trial
from crossdock.bench.dev.verdicts import Verdict, verdicts
from crossdock.bench.record import Record, Series
from crossdock.bench.text import Column, Value

NOTES = (
    "regression: mean and sd over trials of the estimates of a target risk; ratios are known;",
    "digits: accuracy: of the chosen candidate on the target; regret: lost to the best candidate,",
    "with the half of its 95 % interval over seeds; tau: Kendall's, of score and accuracy;",
    "<source, <mean: seeds in which the choice is worse than that by the source risk, and than",
    "the mean of all candidates; refused: candidates that could not be judged, of all seeds;",
    "CE, 0-1: the loss on source validation samples; logistic, MLP: the discriminator",
)
TOY_COLUMNS = (
    Column("power", "", 6, 1),
    Column("samples", "", 8, left=True),
    Column("target", "", 8, 4),
    Column("IWCV", "", 8, 4),
    Column("sd", "", 8, 4),
    Column("DEV", "", 8, 4),
    Column("DEV sd", "", 8, 4),
    Column("less", "%", 6, 1),
)
COLUMNS = (
    Column("selector", "", 20, left=True),
    Column("seeds", "", 5),
    Column("accuracy", "%", 8, 2),
    Column("regret", "%", 7, 2),
    Column("+-", "%", 6, 2),
    Column("worst", "%", 6, 2),
    Column("tau", "", 6, 2),
    Column("refused", "", 7),
    Column("<source", "", 7),
    Column("<mean", "", 5),
    Column("time", "s", 7, 3),
)


class DevRecord(Record, kw_only=True):
    """With every estimate of the regression and every score of every candidate."""

    toys: list[Toy] = msgspec.field(default_factory=list)
    trials: list[Trial] = msgspec.field(default_factory=list)


def series_of(trials: Sequence[Trial]) -> list[Series]:
    """Seconds that selectors take for all candidates; the seeds are the rounds."""
    rounds: dict[tuple[str, str], list[list[float]]] = {}
    for each in trials:
        for name, seconds in each.seconds.items():
            rounds.setdefault((name, each.task), []).append([seconds])
    return [
        Series(contender=name, point={"task": task}, rounds=samples)
        for (name, task), samples in rounds.items()
    ]


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    assert isinstance(record, DevRecord)
    yield from text.head(record)
    yield "#"
    yield from text.table(TOY_COLUMNS, map(toy_row, record.toys))
    for task, trials in by_task(record.trials).items():
        yield "#"
        candidates = len(trials[0].candidates)
        yield f"# digits, {task}: {candidates} candidates, {len(trials)} seeds"
        yield from text.table(COLUMNS, map(row, verdicts(trials)))
        for reason, times in reasons(trials).most_common():
            yield f"# refused {times} times: {reason}"


def by_task(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Trials by their kind of shift."""
    result: dict[str, list[Trial]] = {}
    for each in trials:
        result.setdefault(each.task, []).append(each)
    return result


def toy_row(toy: Toy) -> Mapping[str, Value]:
    """The figures of one power of the weights."""
    return {
        "power": toy.power,
        "samples": "fresh" if toy.held_out else "fitted",
        "target": toy.target,
        "IWCV": toy.iwcv,
        "sd": toy.iwcv_deviation,
        "DEV": toy.dev,
        "DEV sd": toy.dev_deviation,
        "less": 100 * (1 - toy.dev_deviation / toy.iwcv_deviation),
    }


def row(verdict: Verdict) -> Mapping[str, Value]:
    """The figures of one selector, in percent."""

    def percent(value: float) -> float | None:
        return None if math.isnan(value) else 100 * value

    return {
        "selector": verdict.selector,
        "seeds": verdict.chosen,
        "accuracy": percent(verdict.accuracy),
        "regret": percent(verdict.regret),
        "+-": percent(verdict.regret_half),
        "worst": percent(verdict.worst),
        "tau": verdict.tau,
        "refused": verdict.refused,
        "<source": verdict.below_source,
        "<mean": verdict.below_chance,
        "time": verdict.seconds,
    }


def reasons(trials: Sequence[Trial]) -> Counter[str]:
    """How often DEV refused a candidate, by its discriminator and the first words.

    A candidate counts once, whatever the losses it was refused with.
    """
    return Counter(
        reason
        for each in trials
        for candidate in each.candidates
        for reason in {
            f"{name.rpartition(', ')[0]}: {re.split(r' [0-9(]', words)[0]}"
            for name, words in candidate.refused.items()
        }
    )


def draw(record: Record, path: Path) -> None:
    """Regret of every selector, a panel for each shift."""
    assert isinstance(record, DevRecord)
    panels = by_task(record.trials)
    wide, high = plot.PANEL_INCHES
    canvas: Any = plot.figures().Figure(figsize=(wide * len(panels), high), layout="constrained")
    axes = canvas.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (task, trials) in zip(axes, panels.items(), strict=True):
        found = verdicts(trials)
        ours = [each.selector.startswith("DEV") for each in found]
        axis.barh(
            [each.selector for each in found],
            [100 * each.regret for each in found],
            xerr=[100 * each.regret_half for each in found],
            color=["tab:orange" if own else "tab:blue" for own in ours],
            capsize=3,
        )
        axis.invert_yaxis()
        axis.set_title(f"digits, {task}")
        axis.set_xlabel("accuracy lost to the best candidate, %")
    canvas.suptitle(f"crossdock bench dev, git {record.git}, {record.machine.cpu}")
    canvas.savefig(path)
