"""`crossdock bench decompile`: every function of a library there and back, beside depyf's.

Each source file of the folders is compiled; each function in it that is in no other function is
decompiled with all that it contains, recompiled, and compared instruction by instruction. Nothing
of the libraries is imported or executed.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import tyro
from rich.console import Console

from crossdock.bench import command, decompile_corpus, options, plot, text
from crossdock.bench.baselines import depyf
from crossdock.bench.baselines.depyf import Depyf
from crossdock.bench.command import Common
from crossdock.bench.decompile_corpus import STORED
from crossdock.bench.decompile_outcome import (
    BROKEN,
    DIFFERS,
    LOOP,
    PROVED,
    REFUSED,
    generalised,
    measure,
    measure_dynamo,
)
from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.statistics import flat, summarise
from crossdock.bench.text import Column, Value
from crossdock.decompile import DecompileError

COMPILES = frozenset({PROVED, LOOP, DIFFERS})
DECOMPILES = COMPILES | {BROKEN}
CAUSES_MAX = 12

NOTES = (
    "proved: recompiled, the same instructions modulo layout, in all code objects within too;",
    "loop: a function in it is a dispatch loop; differs: compiles, but to other instructions, of",
    "which nobody says that they do the same; broken: does not compile; refused: a typed error;",
    "time: decompilation, with its proof where it is proved here, on one core; CPU seconds",
)
COLUMNS = (
    Column("corpus", "", 12, left=True),
    Column("contender", "", 9, left=True),
    Column("functions", "", 9),
    Column("decompile", "%", 9, 2),
    Column("compile", "%", 8, 2),
    Column("proved", "%", 7, 2),
    Column("median", "ms", 8, 2),
    Column("99%", "ms", 8, 2),
    Column("max", "ms", 9, 2),
    Column("a minute", "", 9, 0),
)
CAUSES = (
    Column("corpus", "", 12, left=True),
    Column("contender", "", 9, left=True),
    Column("outcome", "", 8, left=True),
    Column("functions", "", 9),
    Column("cause", "", left=True),
)

Key = tuple[str, str, str, str]
"""Contender, corpus, outcome, cause."""


@dataclass(frozen=True)
class Options(Common):
    """Share of functions that decompile, that are proved equivalent, and functions a minute."""

    corpora: tuple[Path, ...] = (Path(sysconfig.get_paths()["stdlib"]),)
    """Folders of source files, searched to their depth, or of Dynamo's code objects, marshalled
    (*.code)."""
    every: int = 1
    """Only each so-manieth file, for a quick look."""
    depyf: Path | None = None
    """A folder with depyf, to be measured on the same functions in turn: pip install --no-deps
    --target FOLDER depyf astor dill."""
    call_s: float = 10.0
    """For one call of depyf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.at_least("every", self.every, 1)
        options.between("call-s", self.call_s, 0.1, 3600)

    def settings(self) -> dict[str, Any]:
        """With names only: where the folders lie says nothing."""
        corpora = " ".join(folder.name for folder in self.corpora)
        return {**super().settings(), "corpora": corpora, "depyf": self.depyf is not None}


def main(given: Options) -> int:
    """Measure, print, save; 1 when something crashed, or was taken as proved and is not."""
    with warnings.catch_warnings():  # of what the libraries' own source is warned of
        warnings.simplefilter("ignore", SyntaxWarning)
        return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="decompile", settings=given.settings(), notes=list(NOTES))
    seconds: defaultdict[Key, list[float]] = defaultdict(list)
    wrong: Counter[Key] = Counter()
    rival = None if given.depyf is None else Depyf(given.depyf, given.call_s)
    with options.progress_on(console) as tell:
        for corpus in given.corpora:
            files = decompile_corpus.files(corpus)[:: given.every]
            for at, path in enumerate(files):
                tell(at, len(files), f"{corpus.name} {path.name}")
                ours = measure_dynamo if path.suffix == STORED else measure
                for code in decompile_corpus.functions_of(path):
                    outcome, cause, spent, right = ours(code)
                    seconds[OURS, corpus.name, outcome, cause].append(spent)
                    wrong[OURS, corpus.name, outcome, cause] += not right
                    if rival is not None:
                        outcome, cause, spent = measure_rival(rival, code)
                        seconds[depyf.NAME, corpus.name, outcome, cause].append(spent)
    if rival is not None:
        rival.close()
    if not seconds:
        raise BenchFailed(f"{given.corpora} hold no functions; name folders of source files")
    record.series = [
        Series(
            contender=key[0],
            point={"corpus": key[1], "outcome": key[2], "cause": key[3], "functions": len(spent)},
            rounds=[[round(one, 6) for one in spent]],
            wrong=wrong[key] if key[0] == OURS else None,
        )
        for key, spent in sorted(seconds.items(), key=lambda one: -len(one[1]))
    ]
    return record


def measure_rival(rival: Depyf, code: CodeType) -> tuple[str, str, float]:
    """The outcome of depyf, its cause, seconds."""
    reply = rival.decompiled(code)
    if reply is None:
        return REFUSED, "it cannot be sent to another process", 0.0
    if reply.outcome != depyf.DECOMPILED:
        return reply.outcome, _instruction(reply.text), reply.seconds
    try:
        found = depyf.compiled(code, reply.text)
        if found is None:
            return BROKEN, "", reply.seconds
        return (PROVED if depyf.is_proved(code, found) else DIFFERS), "", reply.seconds
    except DecompileError:  # code that the verifier cannot read is not proved
        return DIFFERS, "", reply.seconds


def _instruction(cause: str) -> str:
    """What depyf refused, if it says so."""
    named = re.search(r"opname='(\w+)'", cause)
    return named[1] if named else generalised(cause)


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, rows(record))
    causes = [
        {"contender": series.contender, **series.point}
        for series in record.series
        if series.point["cause"]
    ]
    if causes:
        yield "#"
        yield from text.table(CAUSES, causes[:CAUSES_MAX])
        if len(causes) > CAUSES_MAX:
            rest = sum(int(cause["functions"]) for cause in causes[CAUSES_MAX:])
            yield f"# and {rest} functions for {len(causes) - CAUSES_MAX} other causes"
    yield "#"
    yield from text.tail(record)


def rows(record: Record) -> Iterator[Mapping[str, Value]]:
    """A line for each contender and corpus."""
    points = [(str(series.point["corpus"]), series.contender) for series in record.series]
    for corpus, contender in sorted(set(points)):
        mine = [
            series
            for series, point in zip(record.series, points, strict=True)
            if point == (corpus, contender)
        ]
        samples = [sample for series in mine for sample in flat(series.rounds)]
        summary = summarise(samples)

        def share(outcomes: frozenset[str], mine: list[Series] = mine) -> float:
            of_them = [int(s.point["functions"]) for s in mine if s.point["outcome"] in outcomes]
            return 100 * sum(of_them) / sum(int(s.point["functions"]) for s in mine)

        yield {
            "corpus": corpus,
            "contender": contender,
            "functions": len(samples),
            "decompile": share(DECOMPILES),
            "compile": share(COMPILES),
            "proved": share(frozenset({PROVED})),
            "median": 1e3 * summary.p50,
            "99%": 1e3 * summary.p99,
            "max": 1e3 * summary.max,
            "a minute": 60 * len(samples) / sum(samples) if sum(samples) else None,
        }


def draw(record: Record, path: Path) -> None:
    """Functions by outcome and cause."""
    plot.save(
        record,
        path,
        panel_of=lambda series: f"{series.point['corpus']} {series.point['outcome']}",
        along="cause",
        value=lambda series: float(series.point["functions"]),
        unit="functions",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
