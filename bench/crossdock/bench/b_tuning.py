"""`crossdock bench b-tuning`: B-Tuning beside its baselines at equal compute.

Small networks that learnt something from one half of scikit-learn's digits are tuned for the other
half. See ``b_tuning_trials`` for the contenders and for what was fixed beforehand.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from rich.console import Console
from scipy import stats

from crossdock.bench import command, options, plot, rank_zoo, text
from crossdock.bench.b_tuning_trials import CONTENDERS, FIXED, Contest, Place, Plan, Trial, zoo
from crossdock.bench.command import Common
from crossdock.bench.record import Record, Series
from crossdock.bench.text import Column, Value

CONFIDENCE = 0.95
RATE_MIN = 1e-9
SAMPLES_MAX = 400
"""Of 449 training pictures: some must be left to choose settings by."""

NOTES = (
    "accuracy on 450 test pictures, in percent; +-: half of a 95% t-interval over the seeds;",
    f"ahead: accuracy of {FIXED} less that of the row, paired by seed, with its interval;",
    "operations of the networks a training picture, counted by torch: ranking of all models,",
    "teachers, training, as far as a contender needs them; but for `same epochs` all are given at",
    "least those of B-Tuning; choosing rate and lambda is not counted, nor LogME's arithmetic",
)
COLUMNS = (
    Column("student", "", 8, left=True),
    Column("pictures", "", 8),
    Column("contender", "", 34, left=True),
    Column("accuracy", "%", 8, 2),
    Column("+-", "%", 5, 2),
    Column("ahead", "%", 6, 2),
    Column("from", "%", 6, 2),
    Column("to", "%", 6, 2),
    Column("epochs", "", 6, 0),
    Column("operations", "M", 10, 2),
    Column("fit", "s", 6, 2),
    Column("rate", "", 6),
    Column("lambda", "", 6),
)


@dataclass(frozen=True)
class Options(Common):
    """Accuracy of B-Tuning, fine-tuning, and feature distillation, over seeds."""

    deadline_s: float = 7200.0
    """For all trials."""
    samples: str = "30,100,300"
    """Pictures to learn from, with commas."""
    seeds: int = 5
    """Of pictures, heads and batches."""
    models: int = len(rank_zoo.ZOO)
    """Of the zoo, evenly chosen."""
    steps: int = 400
    """Of B-Tuning."""
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03)
    """Learning rates to choose from."""
    jobs: int = 1
    """Processes at work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.numbers("samples", self.samples, 10, SAMPLES_MAX)
        options.between("seeds", self.seeds, 2, 1000)
        options.between("models", self.models, 3, len(rank_zoo.ZOO))
        options.at_least("steps", self.steps, 1)
        options.between("jobs", self.jobs, 1, 1024)
        for rate in self.rates:
            options.between("rates", rate, RATE_MIN, 1)


class TuningRecord(Record, kw_only=True):
    """With every trial."""

    trials: list[Trial] = msgspec.field(default_factory=list)


class Part(msgspec.Struct, frozen=True):
    """What one process computes at a time."""

    student: Place
    samples: int
    seeds: int
    models: int
    steps: int
    rates: tuple[float, ...]


def main(given: Options) -> int:
    """Measure, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> TuningRecord:
    """The record of all trials."""
    record = TuningRecord(question="b-tuning", settings=given.settings(), notes=list(NOTES))
    students: tuple[Place, ...] = ("best", "middle")
    parts = [
        Part(student, samples, given.seeds, given.models, given.steps, given.rates)
        for student in students
        for samples in options.numbers("samples", given.samples, 10)
    ]
    with options.progress_on(console) as tell, contextlib.ExitStack() as stack:
        tell(0, len(parts), "contests")
        for done, trials in enumerate(_results(parts, given.jobs, stack), 1):
            record.trials += trials
            tell(done, len(parts), "contests")
    record.series += series_of(record.trials)
    return record


def _results(
    parts: Sequence[Part], jobs: int, stack: contextlib.ExitStack
) -> Iterable[list[Trial]]:
    if jobs == 1:
        return map(_trials, parts)
    context = multiprocessing.get_context("spawn")
    return stack.enter_context(context.Pool(jobs, torch.set_num_threads, (1,))).imap(_trials, parts)


def _trials(part: Part) -> list[Trial]:
    data = rank_zoo.digits()
    contest = Contest(data, zoo(data, part.models), Plan(part.steps, part.rates), part.student)
    return list(contest.trials(part.samples, part.seeds))


def series_of(trials: Sequence[Trial]) -> list[Series]:
    """Seconds of the fits, by contender, student and number of pictures."""
    rounds: dict[tuple[str, str, int], list[list[float]]] = {}
    for trial in trials:
        key = (trial.contender, trial.student, trial.samples)
        rounds.setdefault(key, []).append([trial.seconds])
    return [
        Series(contender=name, point={"student": student, "pictures": samples}, rounds=of)
        for (name, student, samples), of in rounds.items()
    ]


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    assert isinstance(record, TuningRecord)
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, rows(record.trials))


def rows(trials: Sequence[Trial]) -> Iterator[Mapping[str, Value]]:
    """A row for each contender, student and number of pictures."""
    for student, samples in dict.fromkeys((trial.student, trial.samples) for trial in trials):
        here = [t for t in trials if (t.student, t.samples) == (student, samples)]
        ours = [trial.accuracy for trial in here if trial.contender == FIXED]
        for name in CONTENDERS:
            own = [trial for trial in here if trial.contender == name]
            if own:
                yield row(own, ours)


def row(own: Sequence[Trial], ours: Sequence[float]) -> Mapping[str, Value]:
    """Figures of one contender, beside B-Tuning's accuracies with the same seeds."""
    accuracies = np.array([trial.accuracy for trial in own])
    mean, half = interval(accuracies)
    first = own[0]
    told: dict[str, Value] = {
        "student": first.student,
        "pictures": first.samples,
        "contender": first.contender,
        "accuracy": 100 * mean,
        "+-": 100 * half,
        "epochs": float(np.mean([trial.epochs for trial in own])),
        "operations": float(np.mean([trial.operations / trial.samples for trial in own])) / 1e6,
        "fit": float(np.median([trial.seconds for trial in own])),
        "rate": first.learning_rate,
        "lambda": first.strength or None,
    }
    if first.contender != FIXED:
        ahead, half = interval(np.array(ours) - accuracies)
        told |= {"ahead": 100 * ahead, "from": 100 * (ahead - half), "to": 100 * (ahead + half)}
    return told


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean, and half the width of its t-interval."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(values.mean()), float(error * quantile)


def draw(record: Record, path: Path) -> None:
    """Errors by the number of pictures, a panel for each student."""
    assert isinstance(record, TuningRecord)
    means = {
        (each["contender"], each["student"], each["pictures"]): each["accuracy"]
        for each in rows(record.trials)
    }

    def wrong(series: Series) -> float:
        accuracy = means[series.contender, series.point["student"], series.point["pictures"]]
        assert isinstance(accuracy, float)
        return 100 - accuracy

    plot.save(
        record,
        path,
        panel_of=lambda series: f"student: {series.point['student']} of the ranking",
        along="pictures",
        value=wrong,
        unit="wrong answers, %",
    )
