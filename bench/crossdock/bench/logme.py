"""`crossdock bench logme`: what a score of a model costs, beside its formula and beside training.

All contenders have the same cores, and take turns. Then the score is taken of ever more samples
that are streamed, each time in a process of its own, whose peak of memory is noted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from crossdock.bench import command, logme_data, logme_memory, logme_training, options, plot, text
from crossdock.bench.baselines import logme_direct
from crossdock.bench.command import Common
from crossdock.bench.logme_data import Data
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.text import Column, Value
from crossdock.workloads.logme import LogME

COMPAT = f"{OURS} compat"
DIRECT = "direct"
PUBLISHED = "published"
VALIDATED = "cross-validated"
TUNED = "fine-tuned"
TIME, CPU, MEMORY = "time", "cpu", "memory"
TOLERANCE = 1e-9
"""How far a score may be from that of the formula."""
_ROUNDS, _NEAR = 10_000, 1e-13
"""After which the formula stands still."""

NOTES = (
    "raw samples of normal clusters; features of a layer of random weights and ReLU, in float32;",
    "crossdock: LogME().fit, from float64 sums; compat: stops where the published code stops;",
    "direct: the formula with one SVD of F, class by class; published: by an SVD of F'F;",
    "cross-validated: scaled logistic regression of scikit-learn; fine-tuned: that layer and a new",
    "head trained by SGD on four fifths of the raw samples, accuracy on the rest;",
    "wrong: crossdock beside the formula until it stands still, compat beside direct, to 1e-9;",
    "cpu: seconds of processors, of all threads, which others at work on the machine change less;",
    "memory: a process of its own scores; peak over what it has before the first sample; seconds",
    "are those of scoring; crossdock streams parts, direct has all samples at once",
)
COLUMNS = (
    Column("contender", "", 18, left=True),
    Column("what", "", 7, left=True),
    Column("samples", "", 9),
    Column("median", "s", 9, 2),
    Column("min", "s", 9, 2),
    Column("x crossdock", "", 11, 2),
    Column("peak", "MiB", 9, 1),
    Column("#wrong", "", 6),
)


@dataclass(frozen=True)
class Options(Common):
    """Time and memory of LogME, beside its formula, cross-validation and fine-tuning."""

    samples: int = 20_000
    """N of the race."""
    dimension: int = 1024
    """D: features of the model; at most `samples`."""
    classes: int = 100
    """C."""
    rounds: int = 3
    """How often each contender has its turn."""
    folds: int = 5
    """Of the cross-validation."""
    iterations: int = 50
    """Most steps of L-BFGS of each fold."""
    epochs: int = 10
    """Of fine-tuning."""
    streamed: str = "20000,50000,100000,200000,500000,1000000"
    """Samples whose memory is measured, with commas."""
    at_once: str = "20000,50000"
    """The same of the direct formula."""
    rows: int = 8192
    """Of a part that is streamed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.between("classes", self.classes, 2, self.samples)
        options.between("dimension", self.dimension, 1, self.samples)
        options.at_least("rounds", self.rounds, 1)
        options.at_least("folds", self.folds, 2)
        options.at_least("iterations", self.iterations, 1)
        options.at_least("epochs", self.epochs, 1)
        options.between("rows", self.rows, self.classes, 1 << 20)
        options.numbers("streamed", self.streamed, self.classes)
        options.numbers("at-once", self.at_once, self.dimension)


def main(given: Options) -> int:
    """Measure, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="logme", settings=given.settings(), notes=list(NOTES))
    peaks = [
        (name, way, samples)
        for name, way, listed in (
            (OURS, logme_memory.STREAMED, given.streamed),
            (DIRECT, logme_memory.DIRECT, given.at_once),
        )
        for samples in options.numbers("samples", listed, 1)
    ]
    with options.progress_on(console) as tell:
        total = given.rounds + len(peaks)
        record.series += race(given, record.notes, lambda done: tell(done, total, "race"))
        for place, (name, way, samples) in enumerate(peaks):
            tell(given.rounds + place, total, f"{samples} samples {way}")
            record.series.append(peak(given, name, way, samples))
    return record


def race(given: Options, notes: list[str], tell: Callable[[int], None]) -> list[Series]:
    """All contenders, round by round, each round beginning with another."""
    data = logme_data.made(given.samples, given.dimension, given.classes)
    contenders = contenders_of(given, data)
    scored = data.features, data.labels
    expected = {
        OURS: logme_direct.score(*scored, rounds=_ROUNDS, near=_NEAR, epsilon=0.0),
        COMPAT: logme_direct.score(*scored),
    }
    clocks = {TIME: time.perf_counter, CPU: time.process_time}
    seconds: dict[tuple[str, str], list[list[float]]] = {
        (name, clock): [] for clock in clocks for name in contenders
    }
    wrong: dict[str, int | None] = {name: 0 if name in expected else None for name in contenders}
    answers: dict[str, float] = {}
    names = list(contenders)
    for number in range(given.rounds):
        tell(number)
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            begin = {clock: read() for clock, read in clocks.items()}
            answers[name] = contenders[name]()
            for clock, read in clocks.items():
                seconds[name, clock].append([read() - begin[clock]])
            if name in expected:
                missed = abs(answers[name] - expected[name]) > TOLERANCE
                wrong[name] = (wrong[name] or 0) + missed
    notes += [
        f"scores: {', '.join(f'{name} {answers[name]:.6f}' for name in names[:4])};",
        f"accuracies: {', '.join(f'{name} {answers[name]:.3f}' for name in names[4:])}",
    ]
    return [
        Series(
            contender=name,
            point=point_of(given, clock, given.samples),
            rounds=rounds,
            wrong=wrong[name] if clock == TIME else None,
        )
        for (name, clock), rounds in seconds.items()
    ]


def contenders_of(given: Options, data: Data) -> dict[str, Callable[[], float]]:
    """Four that score, two that train."""
    features, labels = data.features, data.labels
    return {
        OURS: lambda: LogME().fit(features, labels).score_,
        COMPAT: lambda: LogME(mode="compat").fit(features, labels).score_,
        DIRECT: lambda: logme_direct.score(features, labels, logme_direct.of_features),
        PUBLISHED: lambda: logme_direct.score(features, labels, logme_direct.of_square),
        VALIDATED: lambda: logme_training.cross_validated(
            features, labels, given.folds, given.iterations
        ),
        TUNED: lambda: logme_training.fine_tuned(data.inputs, labels, data.weights, given.epochs),
    }


def peak(given: Options, name: str, way: str, samples: int) -> Series:
    """The memory of one way to score so many samples."""
    found = logme_memory.measured(
        way, samples, given.dimension, given.classes, given.rows, given.deadline_s
    )
    return Series(
        contender=name,
        point=point_of(given, MEMORY, samples),
        rounds=[[found.seconds]],
        bytes=found.peak_bytes,
    )


def point_of(given: Options, what: str, samples: int) -> dict[str, str | int]:
    """Where contenders meet."""
    return {
        "what": what,
        "samples": samples,
        "dimension": given.dimension,
        "classes": given.classes,
    }


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, (row(record, series) for series in record.series))
    yield "#"
    yield from text.tail(record)


def row(record: Record, series: Series) -> Mapping[str, Value]:
    """A line of the table."""
    summary = series.summary()
    return {
        "contender": series.contender,
        "what": series.point["what"],
        "samples": series.point["samples"],
        "median": summary.p50,
        "min": summary.min,
        "x crossdock": record.ratio(series, OURS),
        "peak": series.bytes / 2**20 if series.bytes else None,
        "#wrong": series.wrong,
    }


def draw(record: Record, path: Path) -> None:
    """Seconds of the race, by both clocks; peaks of memory by samples."""
    units = {TIME: "seconds", CPU: "seconds of processors", MEMORY: "peak of memory, MiB"}
    plot.save(
        record,
        path,
        panel_of=lambda series: units[str(series.point["what"])],
        along="samples",
        value=lambda series: series.bytes / 2**20 if series.bytes else series.summary().p50,
        unit="",
    )
