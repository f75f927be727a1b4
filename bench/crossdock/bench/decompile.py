"""`crossdock bench decompile`: every function of the standard library there and back.

Each source file of the running Python's standard library is compiled; each function in it that is
in no other function is decompiled with all that it contains, recompiled, and compared instruction
by instruction. Nothing of the library is imported or executed.
"""

from __future__ import annotations

import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from crossdock.bench import command, options, plot, text
from crossdock.bench.command import Common
from crossdock.bench.decompile_outcome import OUTCOMES, PROVED, functions_of, measure, sources
from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.statistics import flat, summarise
from crossdock.bench.text import Column, Value

NOTES = (
    "proved: recompiled, the same instructions modulo layout, in all code objects within too;",
    "loop: a function in it is a dispatch loop; refused: a typed error; crashed: any other error;",
    "time: decompilation with its proof, on one core; CPU seconds",
)
COLUMNS = (
    Column("outcome", "", 8, left=True),
    Column("functions", "", 9),
    Column("share", "%", 7, 2),
    Column("median", "ms", 8, 2),
    Column("99%", "ms", 8, 2),
    Column("max", "ms", 9, 2),
)
CAUSES = (
    Column("outcome", "", 8, left=True),
    Column("functions", "", 9),
    Column("cause", "", left=True),
)


@dataclass(frozen=True)
class Options(Common):
    """Share of functions that decompile, that are proved equivalent, and functions a minute."""

    library: Path = Path(sysconfig.get_paths()["stdlib"])
    """A folder of source files, searched to its depth."""
    every: int = 1
    """Only each so-manieth file, for a quick look."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.at_least("every", self.every, 1)


def main(given: Options) -> int:
    """Measure, print, save; 1 when something crashed, or was taken as proved and is not."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="decompile", settings=given.settings(), notes=list(NOTES))
    files = sources(given.library)[:: given.every]
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    wrong: Counter[tuple[str, str]] = Counter()
    with options.progress_on(console) as tell:
        for at, path in enumerate(files):
            tell(at, len(files), path.name)
            for code in functions_of(path):
                outcome, cause, spent, right = measure(code)
                seconds[outcome, cause].append(spent)
                wrong[outcome, cause] += not right
    if not seconds:
        raise BenchFailed(f"{given.library} holds no functions; name a folder of source files")
    record.series = [
        Series(
            contender=OURS,
            point={"outcome": kind[0], "cause": kind[1], "functions": len(spent)},
            rounds=[spent],
            wrong=wrong[kind],
        )
        for kind, spent in sorted(seconds.items(), key=lambda one: -len(one[1]))
    ]
    return record


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    total = sum(int(series.point["functions"]) for series in record.series)
    spent = sum(sum(flat(series.rounds)) for series in record.series)
    yield "#"
    yield from text.table(COLUMNS, rows(record, total))
    yield "#"
    yield f"# {total} functions, {60 * total / spent:.0f} a minute"
    causes = [series.point for series in record.series if series.point["outcome"] != PROVED]
    if causes:
        yield "#"
        yield from text.table(CAUSES, causes)
    yield "#"
    yield from text.tail(record)


def rows(record: Record, total: int) -> Iterator[Mapping[str, Value]]:
    """A line for each outcome."""
    for outcome in OUTCOMES:
        mine = [series for series in record.series if series.point["outcome"] == outcome]
        samples = [sample for series in mine for sample in flat(series.rounds)]
        if not samples:
            continue
        summary = summarise(samples)
        yield {
            "outcome": outcome,
            "functions": len(samples),
            "share": 100 * len(samples) / total,
            "median": 1e3 * summary.p50,
            "99%": 1e3 * summary.p99,
            "max": 1e3 * summary.max,
        }


def draw(record: Record, path: Path) -> None:
    """Functions by outcome and cause."""
    plot.save(
        record,
        path,
        panel_of=lambda series: str(series.point["outcome"]),
        along="cause",
        value=lambda series: float(series.point["functions"]),
        unit="functions",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
